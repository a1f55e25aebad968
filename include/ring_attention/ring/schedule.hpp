#pragma once

#include <ring_attention/ring/layout.hpp>

namespace ring_attention {

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
inline Run visitors_to_meet(Meeting meeting, Index query_seat, Index num_visitors) {
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
        const Run keys = visitors_to_meet(meeting, query_seat, num_visitors);
        for (Index key_seat = keys.first; key_seat < keys.end(); ++key_seat) meet(query_seat, key_seat);
    }
}

}  // namespace ring_attention
