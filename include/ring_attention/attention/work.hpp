#pragma once

#include <algorithm>

#include <ring_attention/attention/hop_order.hpp>
#include <ring_attention/attention/plan.hpp>
#include <ring_attention/attention/tile.hpp>

namespace ring_attention::inline RING_ATTENTION_ABI {

// How much an attention forward computes, where: in multiplications a feature, of which each key-value head
// has (key width + value width) / 2. They are those of the kernel, which works in tiles of queries and keys:
// what the mask hides of a tile is computed with the rest of it, tiles that it hides are not.

/// For each query that fills a tile, and each key that one of the tile sees, a score and a value: of the
/// queries of one key-value head in all batch entries. Tiles begin anew after a gap of the queries.
template <detail::Real T>
Index work_of_pair(const AttentionPlan& plan, const TokenPositions& queries, const TokenPositions& keys) {
    if (!plan.mask.any_visible(queries, keys)) return 0;
    constexpr Index tile_keys = detail::AttentionTile<T>::keys;
    const Index gap_at = queries.before_gap(), group = plan.heads.group();
    Index work = 0;
    for (Index batch = 0; batch < plan.heads.batch; ++batch)
        for (const IndexRange& run : {IndexRange{0, gap_at}, IndexRange{gap_at, queries.count - gap_at}})
            detail::for_each_tile<T>(run.count * group, [&](auto vectors, Index first, Index count) {
                List<IndexRange> seen(std::size_t(count), IndexRange{});
                detail::find_seen(plan.mask, batch, queries, group, run.first * group + first, keys, seen);
                for (Index first_key = 0; first_key < keys.count; first_key += tile_keys) {
                    const Index num_keys = std::min(tile_keys, keys.count - first_key);
                    const detail::VisibleKeys<T> visible(seen, first_key, num_keys);
                    if (visible.any.count > 0)
                        work += vectors * detail::Simd<T>::width *
                                (visible.scores_of(num_keys).count + visible.any.count);
                }
            });
    return work;
}

namespace detail {

/// What a rank computes with the keys and values of rank `home`, in one phase of a hop.
template <Real T>
Index work_of_phase(HopPhase phase, const AttentionPlan& plan, int home) {
    const Share keys(plan.keys.layout(), home, plan.keys.ranks());
    Index work = 0;
    for_each_pair(phase, plan.queries.num_seats(), keys.num_seats(), [&](Index query_seat, Index key_seat) {
        work += work_of_pair<T>(plan, plan.query_tokens(query_seat), keys.tokens(key_seat));
    });
    return work;
}

}  // namespace detail

/// What a rank computes at each hop: with its own keys and values at hop 0, with those of the rank `hop`
/// further on, and at hop `ranks` with those of its own that ring order puts last.
template <detail::Real T>
List<Index> work_of_hops(const AttentionPlan& plan) {
    const int rank = plan.queries.rank(), ranks = plan.queries.ranks();
    List<Index> hops{detail::work_of_phase<T>(detail::HopPhase::own_first, plan, rank)};
    for (int hop = 1; hop < ranks; ++hop)
        hops.push_back(detail::work_of_phase<T>(detail::HopPhase::visiting, plan, (rank + hop) % ranks));
    hops.push_back(detail::work_of_phase<T>(detail::HopPhase::own_last, plan, rank));
    return hops;
}

}  // namespace ring_attention::inline RING_ATTENTION_ABI
