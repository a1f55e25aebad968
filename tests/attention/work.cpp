// How much each rank computes when: the layouts' reason.

#include <algorithm>
#include <numeric>
#include <vector>

#include <doctest/doctest.h>

#include <ring_attention/attention/work.hpp>

#include "support/layouts.hpp"
#include "support/masks.hpp"

namespace attention_work {

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
/// Of a query all heads of a group come one after the other.
template <class T>
Index count_work(const Positions& queries, Index stride, const Positions& keys, const ra::Mask& mask,
                 Index batch, Index group) {
    constexpr std::size_t lanes = ra::detail::AttentionTile<T>::lanes, width = ra::detail::Simd<T>::width,
                          strip = ra::detail::ProductTile<T>::rows,
                          tile_keys = ra::detail::AttentionTile<T>::keys;
    Index work = 0;
    for (const Positions& run : runs_of(queries, stride)) {
        Positions rows;
        for (const Index query : run) rows.insert(rows.end(), std::size_t(group), query);
        for (std::size_t first = 0; first < rows.size(); first += lanes)
            for (std::size_t first_key = 0; first_key < keys.size(); first_key += tile_keys) {
                const std::size_t end = std::min(first + lanes, rows.size()),
                                  num_keys = std::min(tile_keys, keys.size() - first_key);
                std::vector<std::size_t> seen_by(num_keys, 0);
                for (std::size_t i = first; i < end; ++i)
                    for (std::size_t j = 0; j < num_keys; ++j)
                        seen_by[j] += support::sees(mask, batch, rows[i], keys[first_key + j]);
                // Of what the first sees up to what the last sees; of tokens apart there may be holes in it.
                const auto keys_before = [&](Index position) {
                    return std::size_t(std::lower_bound(keys.begin() + Index(first_key),
                                                        keys.begin() + Index(first_key + num_keys),
                                                        position) -
                                       keys.begin()) -
                           first_key;
                };
                const std::size_t from = keys_before(mask.visible(batch, rows[first]).first),
                                  to = keys_before(mask.visible(batch, rows[end - 1]).end());
                if (from >= to) continue;
                std::size_t scores_from = from, scores_to = to;
                const auto is_seen_by_all = [&](std::size_t seen) { return seen == end - first; };
                if (!std::all_of(seen_by.begin() + Index(from), seen_by.begin() + Index(to),
                                 is_seen_by_all)) {
                    while (scores_from % strip != 0) --scores_from;
                    while (scores_to % strip != 0 && scores_to < num_keys) ++scores_to;
                }
                work += Index((end - first > width ? lanes : width) * (scores_to - scores_from + to - from));
            }
    }
    return work;
}

/// In some batch entry. Where nobody does, the seats need not meet.
bool any_sees(const ra::Mask& mask, const Positions& queries, const Positions& keys) {
    for (Index batch = 0; batch < 2; ++batch)
        for (const Index query : queries)
            for (const Index key : keys)
                if (support::sees(mask, batch, query, key)) return true;
    return false;
}

ra::AttentionPlan plan_of(const ra::Share& share, const ra::Mask& mask, const ra::HeadShape& heads) {
    return {share, share, heads, mask, {}};
}

ra::Mask mask_of(Index key_len, bool causal) {
    return {key_len, causal};
}

constexpr ra::HeadShape one_head{1, 1, 1, 1, 1};

Index sum(const ra::List<Index>& hops) {
    return std::accumulate(hops.begin(), hops.end(), Index(0));
}

/// What the ranks of a ring, one at each seat, compute, in units of the mean.
struct Balance {
    double busiest;        // all that the busiest rank computes
    double hop_after_hop;  // what the busiest rank of each hop computes, summed over the hops
};

Balance balance(ra::Layout layout, Index seq_len, int ranks, const ra::Mask& mask) {
    Index busiest = 0, total = 0;
    std::vector<Index> busiest_of_hop(std::size_t(ranks) + 1, 0);
    for (int rank = 0; rank < ranks; ++rank) {
        const ra::Share share(ra::ChunkLayout(seq_len, ranks, layout), rank, ranks);
        const auto hops = ra::work_of_hops<float>(plan_of(share, mask, one_head));
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
    std::size_t turn = 0;
    for (const ra::Layout layout : support::every_layout)
        for (const Index seq_len : {1, 4, 37, 100, 400}) {
            const auto seats = support::seat_positions(layout, seq_len, 3);
            const ra::ChunkLayout chunks(seq_len, 3, layout);
            const Index stride = layout == ra::Layout::striped ? 3 : 1;
            for (const auto& named : support::every_mask(seq_len))
                for (Index query = 0; query < 3; ++query)
                    for (Index key = 0; key < 3; ++key) {
                        const Index group = 1 + Index(turn++ % 3);
                        const ra::HeadShape heads{2, group, 1, 1, 1};
                        INFO(support::name_of(layout), ", ", seq_len, " tokens, seats ", query, " and ", key,
                             ", ", named.first, ", groups of ", group);
                        const auto &queries = seats[std::size_t(query)], &keys = seats[std::size_t(key)];
                        Index expected = 0;
                        if (any_sees(named.second, queries, keys))
                            for (Index batch = 0; batch < 2; ++batch)
                                expected += count_work<T>(queries, stride, keys, named.second, batch, group);
                        CHECK(ra::work_of_pair<T>(plan_of(ra::Share(chunks, 0, 1), named.second, heads),
                                                  chunks.tokens(query), chunks.tokens(key)) == expected);
                    }
        }
}

TEST_CASE("work: without a mask, two multiplications for each query and key") {
    constexpr Index lanes = ra::detail::AttentionTile<float>::lanes;
    const ra::Share share(ra::ChunkLayout(1, 1), 0, 1);
    const ra::TokenPositions queries{0, 10 * lanes}, keys{5000, 77};
    const auto work = [&](const ra::Mask& mask, const ra::HeadShape& heads) {
        return ra::work_of_pair<float>(plan_of(share, mask, heads), queries, keys);
    };
    CHECK(work(mask_of(6000, false), one_head) == 2 * 10 * lanes * 77);
    CHECK(work(mask_of(6000, true), one_head) == 0);
    CHECK(work(mask_of(6000, false), {1, 4, 1, 1, 1}) == 4 * 2 * 10 * lanes * 77);
    CHECK(work(mask_of(6000, false), {3, 8, 2, 1, 1}) == 3 * 4 * 2 * 10 * lanes * 77);
}

TEST_CASE("work: the ranks share what one rank does alone, each meeting at its hop") {
    const ra::List<Index> documents{0, 100, 101, 500};
    for (const ra::Layout layout : support::every_layout)
        for (const ra::Mask& mask : {mask_of(777, true), mask_of(777, false), ra::Mask{777, true, 200},
                                     ra::Mask{777, false, 0, 0, documents}, ra::Mask{777, true, 0, 300},
                                     ra::Mask{777, true, 0, 0, {}, {20, 600}}}) {
            const ra::ChunkLayout chunks(777, 6, layout);
            const ra::HeadShape heads{2, 4, 2, 3, 3};
            const Index alone = sum(ra::work_of_hops<float>(plan_of(ra::Share(chunks, 0, 1), mask, heads)));
            for (int ranks = 1; ranks <= 6; ++ranks) {
                INFO(support::name_of(layout), ", causal ", mask.causal, ", window ", mask.window,
                     ", prefix ", mask.prefix, ", ", mask.document_starts.size(), " documents, ", ranks,
                     " ranks");
                Index together = 0;
                for (int rank = 0; rank < ranks; ++rank) {
                    const ra::Share share(chunks, rank, ranks);
                    const ra::AttentionPlan plan = plan_of(share, mask, heads);
                    const auto hops = ra::work_of_hops<float>(plan);
                    REQUIRE(hops.size() == std::size_t(ranks) + 1);
                    together += sum(hops);
                    if (ranks < 6) continue;
                    for (int hop = 0; hop < ranks; ++hop)
                        CHECK(hops[std::size_t(hop)] ==
                              ra::work_of_pair<float>(plan, share.tokens(0),
                                                      share.of_neighbour(hop).tokens(0)));
                    CHECK(hops.back() == 0);
                }
                CHECK(together == alone);
            }
        }
}

TEST_CASE("work: in the contiguous layout the last rank has nearly twice the mean") {
    for_each_ring([](int ranks, Index seq_len, double tile) {
        const auto [busiest, hop_after_hop] =
            balance(ra::Layout::contiguous, seq_len, ranks, mask_of(seq_len, true));
        const double expected = 2 - 1.0 / ranks;  // 2n - 1 halves of a chunk, of n^2 by n
        CHECK(busiest == doctest::Approx(expected).epsilon(tile));
        CHECK(hop_after_hop == doctest::Approx(expected).epsilon(tile));
    });
}

TEST_CASE("work: zigzag and striped ranks have equal work, in all and at each hop") {
    for_each_ring([](int ranks, Index seq_len, double tile) {
        for (const ra::Layout layout : {ra::Layout::zigzag, ra::Layout::striped}) {
            CAPTURE(support::name_of(layout));
            const auto [busiest, hop_after_hop] = balance(layout, seq_len, ranks, mask_of(seq_len, true));
            CHECK(busiest >= 1);
            CHECK(busiest <= 1 + tile);
            CHECK(hop_after_hop >= busiest);
            CHECK(hop_after_hop <= 1 + tile);
        }
    });
}

TEST_CASE("work: how even it is with a window, with documents and with a prefix") {
    constexpr Index seq_len = 16'384;
    ra::List<Index> documents;
    for (Index start = 0; start < seq_len; start += 1024) documents.push_back(start);
    const ra::Mask short_window{seq_len, true, 512}, long_window{seq_len, true, 4096},
        own_document{seq_len, true, 0, 0, documents}, prefix{seq_len, true, 0, 4096};
    struct Expected {
        const char* name;
        const ra::Mask& mask;
        int ranks;
        Balance contiguous, zigzag;
    };
    // A window leaves the ranks that have the first tokens less, in every layout but the striped. Zigzag
    // gives each rank its neighbours at other hops: what is even in all is not so hop after hop.
    const Expected rows[] = {{"window 512", short_window, 4, {1.016, 1.016}, {1.016, 1.08}},
                             {"window 512", short_window, 8, {1.016, 1.016}, {1.016, 1.14}},
                             {"window 4096", long_window, 4, {1.14, 1.14}, {1.14, 1.57}},
                             {"window 4096", long_window, 8, {1.14, 1.14}, {1.14, 1.92}},
                             {"documents of 1024", own_document, 4, {1, 1}, {1, 1}},
                             {"documents of 1024", own_document, 8, {1, 1}, {1, 1}},
                             {"prefix 4096", prefix, 4, {1.65, 1.88}, {1.12, 1.12}},
                             {"prefix 4096", prefix, 8, {1.76, 1.88}, {1.15, 1.15}}};
    for (const Expected& row : rows) {
        INFO(row.name, ", ", row.ranks, " ranks");
        const auto check = [&](ra::Layout layout, const Balance& expected) {
            CAPTURE(support::name_of(layout));
            const auto [busiest, hop_after_hop] = balance(layout, seq_len, row.ranks, row.mask);
            CHECK(busiest == doctest::Approx(expected.busiest).epsilon(0.01));
            CHECK(hop_after_hop == doctest::Approx(expected.hop_after_hop).epsilon(0.01));
        };
        check(ra::Layout::contiguous, row.contiguous);
        check(ra::Layout::zigzag, row.zigzag);
        check(ra::Layout::striped, {1, 1});
    }
}

}  // namespace attention_work
