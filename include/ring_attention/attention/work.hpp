#pragma once

#include <algorithm>

#include <ring_attention/attention/hop_order.hpp>
#include <ring_attention/attention/tile.hpp>

namespace ring_attention::inline RING_ATTENTION_ABI {

// How much an attention forward computes, where: in multiplications a feature of a head, of which each has
// batch * heads * head_dim. They are those of the kernel, which works in tiles of queries and keys: what the
// mask hides of a tile is computed with the rest of it, tiles that it hides are not.

/// For each query that fills a tile, and each key that one of the tile sees, a score and a value. Tiles begin
/// anew after a gap of the queries.
template <Real T>
Index work_of_pair(const TokenPositions& queries, const TokenPositions& keys, const Mask& mask) {
    if (!mask.any_visible(queries, keys)) return 0;
    constexpr Index tile_keys = detail::AttentionTile<T>::keys;
    const Index gap_at = queries.before_gap();
    Index work = 0;
    for (const IndexRange& run : {IndexRange{0, gap_at}, IndexRange{gap_at, queries.count - gap_at}})
        detail::for_each_tile<T>(run.count, [&](auto vectors, Index first, Index count) {
            const TokenPositions tile = queries.middle(run.first + first, count);
            for (Index first_key = 0; first_key < keys.count; first_key += tile_keys) {
                const Index num_keys = std::min(tile_keys, keys.count - first_key);
                const detail::VisibleKeys<T> visible(mask, tile, keys, first_key, num_keys);
                work += vectors * Simd<T>::width * (visible.scores_of(num_keys) + visible.any);
            }
        });
    return work;
}

/// What a rank computes with the keys and values of another, or with its own, in one meeting.
template <Real T>
Index work_of_meeting(Meeting meeting, const Share& queries, const Share& keys, const Mask& mask) {
    Index work = 0;
    for_each_pair(meeting, queries.num_seats(), keys.num_seats(), [&](Index query_seat, Index key_seat) {
        work += work_of_pair<T>(queries.tokens(query_seat), keys.tokens(key_seat), mask);
    });
    return work;
}

/// What a rank computes at each hop: with its own keys and values at hop 0, with those of the rank `hop`
/// further on, and at hop `ranks` with those of its own that ring order puts last.
template <Real T>
List<Index> work_of_hops(const Share& share, const Mask& mask) {
    List<Index> hops{work_of_meeting<T>(Meeting::own_first, share, share, mask)};
    for (int hop = 1; hop < share.ranks(); ++hop)
        hops.push_back(work_of_meeting<T>(Meeting::visiting, share, share.of_neighbour(hop), mask));
    hops.push_back(work_of_meeting<T>(Meeting::own_last, share, share, mask));
    return hops;
}

}  // namespace ring_attention::inline RING_ATTENTION_ABI
