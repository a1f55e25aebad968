#pragma once

#include <ring_attention/attention/plan.hpp>
#include <ring_attention/sequence/share.hpp>

namespace ring_attention::inline RING_ATTENTION_ABI {

/// When a rank meets the keys and values of a rank's seats.
enum class HopPhase {
    own_first,  ///< own visitors, at the query seat or after it
    visiting,   ///< those of another rank
    own_last,   ///< own again: seats before the query seat, which ring order puts last
};

/// The visiting seats that a query seat meets, in order. Seats are counted from 0 within their rank.
///
/// Ring order: queries at seat i meet keys at seats i, i + 1, ..., i + n - 1 (mod n), and keys at seat j meet
/// queries at seats j, j - 1, ... With query seats falling in the outer loop and key seats rising in the
/// inner one, the meetings own_first, visiting (ranks r + 1, r + 2, ... mod P), own_last keep both orders,
/// for any number of ranks.
inline IndexRange visitors_to_meet(HopPhase phase, Index query_seat, Index num_visitors) {
    switch (phase) {
        case HopPhase::own_first:
            return {query_seat, std::max<Index>(0, num_visitors - query_seat)};
        case HopPhase::own_last:
            return {0, std::min(query_seat, num_visitors)};
        case HopPhase::visiting:
            break;
    }
    return {0, num_visitors};
}

/// Calls meet(query seat, visiting seat) for all pairs of a meeting, in ring order.
void for_each_pair(HopPhase phase, Index num_seats, Index num_visitors, auto&& meet) {
    for (Index query_seat = num_seats - 1; query_seat >= 0; --query_seat) {
        const IndexRange keys = visitors_to_meet(phase, query_seat, num_visitors);
        for (Index key_seat = keys.first; key_seat < keys.end(); ++key_seat) meet(query_seat, key_seat);
    }
}

inline int hops_to_travel(const AttentionPlan& plan, int home) {
    const int ranks = plan.keys.ranks();
    int hops = ranks - 1;
    while (hops > 0 && !plan.sees((home + ranks - hops) % ranks, home)) --hops;
    return hops;
}
inline bool travels_on(const AttentionPlan& plan, int home, int hop) {
    return hops_to_travel(plan, home) > hop;
}

}  // namespace ring_attention::inline RING_ATTENTION_ABI
