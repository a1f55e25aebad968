#pragma once

#include <algorithm>
#include <filesystem>
#include <string>
#include <vector>

#include <fmt/format.h>

#include <ring_attention/attention/work.hpp>

#include "gantt.hpp"
#include "layouts.hpp"

namespace ring_lm {

struct ScheduleArguments {
    std::filesystem::path out = "schedule.png";
    std::vector<ra::Layout> layouts{ra::Layout::contiguous, ra::Layout::zigzag, ra::Layout::striped};
    int ranks = 4;
    ra::Index tokens = 1024;  ///< of a rank
    double hop = 0.5;         ///< time that a hop of the ring takes, in that of the mean hop's compute
};

/// What the ranks of a causal attention do when, forward: a seat each. One unit of time is what a rank
/// computes at a hop where all have equal work.
inline std::vector<Bar> schedule(const ScheduleArguments& of, ra::Layout layout, int first_row) {
    const int ranks = of.ranks;
    const ra::ChunkLayout tokens(of.tokens * ranks, ranks, layout);
    const auto plan_of = [&](int rank) {
        const ra::Share share(tokens, rank, ranks);
        return ra::plan_of<float>(
            {}, share, share,
            {.batch = 1, .heads = 1, .key_value_heads = 1, .key_width = 1, .value_width = 1});
    };
    Eigen::ArrayXXd work(ranks, ranks);  // of a rank at a hop
    std::vector<ra::detail::Routes> routes;
    for (int rank = 0; rank < ranks; ++rank) {
        routes.emplace_back(plan_of(rank));
        const ra::List<ra::Index> hops = ra::work_of_hops<float>(plan_of(rank));
        for (int hop = 0; hop < ranks; ++hop) work(rank, hop) = double(hops[std::size_t(hop)]);
    }
    work /= work.mean();

    std::vector<Bar> bars;
    Eigen::ArrayXd free_from = Eigen::ArrayXd::Zero(ranks), present_from = free_from;
    for (int hop = 0; hop < ranks; ++hop) {
        const Eigen::ArrayXd start = free_from.max(present_from);
        for (int rank = 0; rank < ranks; ++rank) {
            const int visiting = (rank + hop) % ranks, row = first_row + rank;
            const double begin = start[rank], end = begin + work(rank, hop);
            if (begin > free_from[rank]) bars.push_back({row, "wait", "", free_from[rank], begin});
            if (end > begin) bars.push_back({row, "compute", std::to_string(visiting), begin, end});
            if (routes[std::size_t(rank)].gives_on(hop) || routes[std::size_t(rank)].gives_own_to(hop))
                bars.push_back({row, "send", "", begin, begin + of.hop});
            free_from[rank] = end;
        }
        // A hop is over when its own message has left and the next one has come.
        for (int rank = 0; rank < ranks; ++rank) {
            const ra::detail::Routes& route = routes[std::size_t(rank)];
            present_from[rank] = start[rank] + (route.gives_on(hop) || route.gives_own_to(hop) ? of.hop : 0);
            if (const auto giver = route.giver(hop))
                present_from[rank] = std::max(present_from[rank], start[*giver] + of.hop);
        }
    }
    return bars;
}

/// Draws them, a layout below the other. Throws ra::Error where there is no gnuplot, or too much to draw.
inline void draw_schedule(const ScheduleArguments& of) {
    constexpr ra::Index most_tokens = 1 << 20;  // takes seconds; the time grows with the square
    if (of.tokens > most_tokens / of.ranks)
        throw ra::Error(fmt::format("--ranks {} and --tokens {}: expected at most {} tokens in all", of.ranks,
                                    of.tokens, most_tokens));
    ra::require_writable(of.out);
    Gantt gantt{fmt::format("Forward, causal, {} ranks: whose keys and values each computes with", of.ranks),
                "time, in hops of equal work",
                {},
                {}};
    for (const ra::Layout layout : of.layouts) {
        const std::vector<Bar> bars = schedule(of, layout, int(gantt.rows.size()));
        gantt.bars.insert(gantt.bars.end(), bars.begin(), bars.end());
        for (int rank = 0; rank < of.ranks; ++rank)
            gantt.rows.push_back(fmt::format("{}, rank {}", ra::name_of(layout), rank));
    }
    if (!draw(gantt, of.out)) throw ra::Error("cannot draw " + of.out.string() + ": is there a gnuplot?");
}

}  // namespace ring_lm
