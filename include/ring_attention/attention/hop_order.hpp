#pragma once

#include <algorithm>

#include <ring_attention/core/types.hpp>

namespace ring_attention::inline RING_ATTENTION_ABI::detail {

/// When a rank's queries meet the keys and values of a rank's seats.
enum class HopPhase {
    own_first,  ///< the rank's own, at the query seat or after it
    visiting,   ///< those of another rank
    own_last,   ///< its own again: at seats before the query seat, which ring order puts last
};

/// The seats whose keys and values a query seat meets, in order, of the `num_visitors` that have any. Seats
/// are counted from 0 within their rank.
///
/// Ring order: queries at seat i meet keys at seats i, i + 1, ..., i + n - 1 (mod n), and keys at seat j meet
/// queries at seats j, j - 1, ... With query seats falling in the outer loop and key seats rising in the
/// inner one, the phases own_first, visiting (ranks r + 1, r + 2, ... mod P), own_last keep both orders, for
/// any number of ranks. Where there are fewer keys than queries, seats with queries may have no keys.
inline IndexRange visitors_to_meet(HopPhase phase, Index query_seat, Index num_visitors) {
    const Index before = std::min(query_seat, num_visitors);
    switch (phase) {
        case HopPhase::own_first:
            return {before, num_visitors - before};
        case HopPhase::own_last:
            return {0, before};
        case HopPhase::visiting:
            break;
    }
    return {0, num_visitors};
}

/// Calls meet(query seat, visiting seat) for all pairs of a phase, in ring order.
void for_each_pair(HopPhase phase, Index num_seats, Index num_visitors, auto&& meet) {
    for (Index query_seat = num_seats - 1; query_seat >= 0; --query_seat) {
        const IndexRange keys = visitors_to_meet(phase, query_seat, num_visitors);
        for (Index key_seat = keys.first; key_seat < keys.end(); ++key_seat) meet(query_seat, key_seat);
    }
}

}  // namespace ring_attention::inline RING_ATTENTION_ABI::detail
