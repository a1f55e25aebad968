// How much each rank computes when: the layouts' reason.

#include <algorithm>
#include <numeric>
#include <vector>

#include <doctest/doctest.h>

#include <ring_attention/attention/work.hpp>

#include "support/layouts.hpp"

namespace {

namespace ra = ring_attention;
using ra::Index;
using support::Positions;

/// Positions `stride` apart, up to where they jump.
std::vector<Positions> runs_of(const Positions& positions, Index stride) {
    std::vector<Positions> runs;
    for (std::size_t i = 0; i < positions.size(); ++i) {
        if (i == 0 || positions[i] - positions[i - 1] != stride) runs.emplace_back();
        runs.back().push_back(positions[i]);
    }
    return runs;
}

/// Tile by tile, asking for every query and key; tiles begin anew where the positions of the queries jump.
template <class T>
Index count_work(const Positions& queries, Index stride, const Positions& keys, bool causal) {
    constexpr std::size_t lanes = ra::detail::AttentionTile<T>::lanes, width = ra::Simd<T>::width,
                          strip = ra::detail::ProductTile<T>::rows,
                          tile_keys = ra::detail::AttentionTile<T>::keys;
    Index work = 0;
    for (const Positions& run : runs_of(queries, stride))
        for (std::size_t first = 0; first < run.size(); first += lanes)
            for (std::size_t first_key = 0; first_key < keys.size(); first_key += tile_keys) {
                const std::size_t end = std::min(first + lanes, run.size()),
                                  end_key = std::min(first_key + tile_keys, keys.size());
                std::size_t most = 0, fewest = tile_keys;
                for (std::size_t i = first; i < end; ++i) {
                    std::size_t seen = 0;
                    for (std::size_t j = first_key; j < end_key; ++j) seen += !causal || keys[j] <= run[i];
                    most = std::max(most, seen);
                    fewest = std::min(fewest, seen);
                }
                std::size_t scores = most;
                while (fewest < most && scores % strip != 0 && scores < end_key - first_key) ++scores;
                work += Index((end - first > width ? lanes : width) * (scores + most));
            }
    return work;
}

Index sum(const ra::List<Index>& hops) {
    return std::accumulate(hops.begin(), hops.end(), Index(0));
}

/// What the ranks of a ring, one at each seat, compute, in units of the mean.
struct Balance {
    double busiest;        // all that the busiest rank computes
    double hop_after_hop;  // what the busiest rank of each hop computes, summed over the hops
};

Balance balance(ra::Layout layout, Index seq_len, int ranks) {
    Index busiest = 0, total = 0;
    std::vector<Index> busiest_of_hop(std::size_t(ranks) + 1, 0);
    for (int rank = 0; rank < ranks; ++rank) {
        const auto hops =
            ra::work_of_hops<float>(ra::Share(ra::ChunkLayout(seq_len, ranks, layout), rank, ranks), {});
        for (std::size_t hop = 0; hop < hops.size(); ++hop)
            busiest_of_hop[hop] = std::max(busiest_of_hop[hop], hops[hop]);
        busiest = std::max(busiest, sum(hops));
        total += sum(hops);
    }
    const double mean = double(total) / ranks;
    return {double(busiest) / mean,
            double(std::accumulate(busiest_of_hop.begin(), busiest_of_hop.end(), Index(0))) / mean};
}

/// Calls f(ranks, seq_len, tile) for chunks that fill tiles and chunks that do not, and for lengths that
/// divide and that do not. tile: the part of a seat that a tile of queries is, which a token too many costs.
template <class F>
void for_each_ring(const F& f) {
    for (const int ranks : {2, 3, 4, 7, 8, 16, 33, 64})
        for (const Index tokens : {512, 700, 1024, 1999, 2048})
            for (const int more : {0, 1, ranks - 1}) {
                INFO(ranks, " ranks, ", tokens, " tokens a seat and ", more, " more");
                f(ranks, ranks * tokens + more,
                  double(ra::detail::AttentionTile<float>::lanes) / double(tokens));
            }
}

}  // namespace

TEST_CASE_TEMPLATE("work: of two seats, what the tiles of the kernel take", T, float, double) {
    for (const ra::Layout layout : support::every_layout)
        for (const Index seq_len : {1, 4, 37, 100, 333, 700}) {
            const auto seats = support::seat_positions(layout, seq_len, 3);
            const ra::ChunkLayout chunks(seq_len, 3, layout);
            const Index stride = layout == ra::Layout::striped ? 3 : 1;
            for (Index query = 0; query < 3; ++query)
                for (Index key = 0; key < 3; ++key)
                    for (const bool causal : {true, false}) {
                        INFO(support::name_of(layout), ", ", seq_len, " tokens, seats ", query, " and ", key,
                             ", causal ", causal);
                        CHECK(ra::work_of_pair<T>(chunks.tokens(query), chunks.tokens(key), {causal}) ==
                              count_work<T>(seats[std::size_t(query)], stride, seats[std::size_t(key)],
                                            causal));
                    }
        }
}

TEST_CASE("work: without a mask, two multiplications for each query and key") {
    constexpr Index lanes = ra::detail::AttentionTile<float>::lanes;
    CHECK(ra::work_of_pair<float>({0, 10 * lanes}, {5000, 77}, {false}) == 2 * 10 * lanes * 77);
    CHECK(ra::work_of_pair<float>({0, 10 * lanes}, {5000, 77}, {true}) == 0);
}

TEST_CASE("work: the ranks share what one rank does alone, each meeting at its hop") {
    for (const ra::Layout layout : support::every_layout)
        for (const bool causal : {true, false}) {
            const ra::ChunkLayout chunks(777, 6, layout);
            const Index alone = sum(ra::work_of_hops<float>(ra::Share(chunks, 0, 1), {causal}));
            for (int ranks = 1; ranks <= 6; ++ranks) {
                INFO(support::name_of(layout), ", causal ", causal, ", ", ranks, " ranks");
                Index together = 0;
                for (int rank = 0; rank < ranks; ++rank) {
                    const ra::Share share(chunks, rank, ranks);
                    const auto hops = ra::work_of_hops<float>(share, {causal});
                    REQUIRE(hops.size() == std::size_t(ranks) + 1);
                    together += sum(hops);
                    if (ranks < 6) continue;
                    for (int hop = 0; hop < ranks; ++hop)
                        CHECK(hops[std::size_t(hop)] ==
                              ra::work_of_pair<float>(share.tokens(0), share.of_neighbour(hop).tokens(0),
                                                      {causal}));
                    CHECK(hops.back() == 0);
                }
                CHECK(together == alone);
            }
        }
}

TEST_CASE("work: in the contiguous layout the last rank has nearly twice the mean") {
    for_each_ring([](int ranks, Index seq_len, double tile) {
        const auto [busiest, hop_after_hop] = balance(ra::Layout::contiguous, seq_len, ranks);
        const double expected = 2 - 1.0 / ranks;  // 2n - 1 halves of a chunk, of n^2 by n
        CHECK(busiest == doctest::Approx(expected).epsilon(tile));
        CHECK(hop_after_hop == doctest::Approx(expected).epsilon(tile));
    });
}

TEST_CASE("work: zigzag and striped ranks have equal work, in all and at each hop") {
    for_each_ring([](int ranks, Index seq_len, double tile) {
        for (const ra::Layout layout : {ra::Layout::zigzag, ra::Layout::striped}) {
            CAPTURE(support::name_of(layout));
            const auto [busiest, hop_after_hop] = balance(layout, seq_len, ranks);
            CHECK(busiest >= 1);
            CHECK(busiest <= 1 + tile);
            CHECK(hop_after_hop >= busiest);
            CHECK(hop_after_hop <= 1 + tile);
        }
    });
}
