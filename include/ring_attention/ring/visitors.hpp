#pragma once

#include <initializer_list>
#include <span>
#include <utility>

#include <ring_attention/ring/ring.hpp>
#include <ring_attention/ring/schedule.hpp>
#include <ring_attention/ring/travellers.hpp>

namespace ring_attention::detail {

/// The meetings that a rank has at one time with the same visitors. hop: how many ranks further on these are at
/// home; the rank's own, which come first and last, have hop 0 and hop `ranks`.
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

/// Lets the keys and values of every rank visit this one, its own first, and calls meet(visit, visitors) at every
/// hop; the next visitors travel meanwhile. Who sees nothing that a rank has is not sent to it (but on to those
/// behind it): at such a hop there are no meetings, and no visitors. Alone on the ring, a rank need not have bytes to
/// send.
template <class T, Ring R>
void receive_visitors(R& ring, const Share& share, const HeadShape& shape, const Mask& mask,
                      const KeyValues<const T>& own, std::span<const std::byte> own_bytes, auto&& meet) {
    const int ranks = ring.ranks();
    if (ranks == 1) return meet(Visit{{Meeting::own_first, Meeting::own_last}, 0, true, true}, own);

    Travellers<T> visiting, arriving;
    for (int hop = 0; hop < ranks; ++hop) {
        const Share home = share.of_neighbour(hop), next_home = share.of_neighbour(hop + 1);
        const bool sends = hop + 1 < ranks && hops_to_travel(home, mask) > hop,
                   receives = hop + 1 < ranks && hops_to_travel(next_home, mask) > hop;
        arriving = receives ? Travellers<T>(next_home, shape) : Travellers<T>();
        const auto present = hop == 0 ? own_bytes : std::as_const(visiting).bytes();
        auto exchange = ring.start_exchange(
            Channel::key_value, sends ? present : std::span<const std::byte>(), arriving.bytes());
        if (hop == 0)
            meet(Visit{{Meeting::own_first}, hop, true, false}, own);
        else if (any_visible(share, home, mask))
            meet(Visit{{Meeting::visiting}, hop, false, false}, std::as_const(visiting).views());
        else
            meet(Visit{{}, hop, false, false}, KeyValues<const T>());
        exchange.finish();
        std::swap(visiting, arriving);
    }
    meet(Visit{{Meeting::own_last}, ranks, false, true}, own);
}

}  // namespace ring_attention::detail
