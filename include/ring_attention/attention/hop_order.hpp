#pragma once

#include <ring_attention/attention/mask.hpp>
#include <ring_attention/sequence/share.hpp>

namespace ring_attention::inline RING_ATTENTION_ABI {

/// When a rank meets the keys and values of a rank's seats.
enum class Meeting {
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
inline IndexRange visitors_to_meet(Meeting meeting, Index query_seat, Index num_visitors) {
    switch (meeting) {
        case Meeting::own_first:
            return {query_seat, num_visitors - query_seat};
        case Meeting::own_last:
            return {0, query_seat};
        case Meeting::visiting:
            break;
    }
    return {0, num_visitors};
}

/// Calls meet(query seat, visiting seat) for all pairs of a meeting, in ring order.
void for_each_pair(Meeting meeting, Index num_seats, Index num_visitors, auto&& meet) {
    for (Index query_seat = num_seats - 1; query_seat >= 0; --query_seat) {
        const IndexRange keys = visitors_to_meet(meeting, query_seat, num_visitors);
        for (Index key_seat = keys.first; key_seat < keys.end(); ++key_seat) meet(query_seat, key_seat);
    }
}

/// Whether a query of one share sees a key of the other.
inline bool any_visible(const Share& queries, const Share& keys, const Mask& mask) {
    for (Index query = 0; query < queries.num_seats(); ++query)
        for (Index key = 0; key < keys.num_seats(); ++key)
            if (mask.any_visible(queries.tokens(query), keys.tokens(key))) return true;
    return false;
}

/// How many hops the keys and values of a rank travel: to the last rank that needs them, and not on.
inline int hops_to_travel(const Share& home, const Mask& mask) {
    int hops = home.ranks() - 1;
    while (hops > 0 && !any_visible(home.of_neighbour(home.ranks() - hops), home, mask)) --hops;
    return hops;
}

/// Whether they are sent on at this hop, counted from 0: a rank further on still needs them.
inline bool travels_on(const Share& home, int hop, const Mask& mask) {
    return hops_to_travel(home, mask) > hop;
}

}  // namespace ring_attention::inline RING_ATTENTION_ABI
