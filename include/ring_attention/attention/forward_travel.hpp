#pragma once

#include <initializer_list>
#include <span>
#include <utility>

#include <ring_attention/attention/hop_order.hpp>
#include <ring_attention/attention/message.hpp>
#include <ring_attention/ring/ring.hpp>

namespace ring_attention::inline RING_ATTENTION_ABI::detail {

/// The meetings that a rank has at one time with the same visitors. hop: how many ranks further on these are
/// at home; the rank's own, which come first and last, have hop 0 and hop `ranks`.
struct Visit {
    std::initializer_list<Meeting> meetings;
    int hop;
    bool first, last;
};

/// While it lives, this rank computes: to the timeline "seats 0-1 meet 4-5".
auto compute_span(auto& ring, const Share& share, int hop) {
    return TimelineSpan(ring.log().timeline, Activity::compute, [&share, hop] {
        return "seats " + share.seats_text() + " meet " + share.of_neighbour(hop).seats_text();
    });
}

/// The last hop at which this rank meets somebody: `ranks` stands for its own, once more.
inline int last_hop_to_meet(const Share& share, const Mask& mask) {
    if (share.num_seats() > 1) return share.ranks();
    int hop = share.ranks() - 1;
    while (hop > 0 && !any_visible(share, share.of_neighbour(hop), mask)) --hop;
    return hop;
}

/// Lets the keys and values of every rank visit this one, its own first, and calls meet(visit, visitors) when
/// some are there that it sees; the next ones travel meanwhile. What no rank behind this one sees is not sent
/// on. `sent` are the rank's own as they travel; alone on the ring, it need not have them.
template <class T, Ring R>
void receive_visitors(R& ring, const Share& share, const HeadShape& shape, const Mask& mask,
                      const KeyValues<const T>& own, const KeyValueMessage<T>& sent, auto&& meet) {
    const int ranks = ring.ranks();
    if (ranks == 1) return meet(Visit{{Meeting::own_first, Meeting::own_last}, 0, true, true}, own);

    const int last_hop = last_hop_to_meet(share, mask);
    KeyValueMessage<T> visiting, arriving;
    for (int hop = 0; hop < ranks; ++hop) {
        const Share home = share.of_neighbour(hop), next_home = share.of_neighbour(hop + 1);
        arriving = {};  // before there is a new one: no more than two are to be in memory
        if (travels_on(next_home, hop, mask)) arriving = KeyValueMessage<T>(next_home, shape);
        const auto present = (hop == 0 ? sent : std::as_const(visiting)).bytes();
        auto exchange = ring.start_exchange(
            Channel::key_value, travels_on(home, hop, mask) ? present : std::span<const std::byte>(),
            arriving.bytes());
        if (hop == 0)
            meet(Visit{{Meeting::own_first}, hop, true, hop == last_hop}, own);
        else if (any_visible(share, home, mask))
            meet(Visit{{Meeting::visiting}, hop, false, hop == last_hop}, std::as_const(visiting).views());
        exchange.finish();
        std::swap(visiting, arriving);
    }
    if (last_hop == ranks) meet(Visit{{Meeting::own_last}, ranks, false, true}, own);
}

}  // namespace ring_attention::inline RING_ATTENTION_ABI::detail
