#pragma once

#include <initializer_list>
#include <span>
#include <utility>

#include <ring_attention/ring/ring.hpp>
#include <ring_attention/ring/schedule.hpp>
#include <ring_attention/ring/travellers.hpp>

namespace ring_attention::detail {

/// The meetings that a rank has at one time with the same visitors, and whether they are its first and last.
struct Visit {
    std::initializer_list<Meeting> meetings;
    bool first, last;
};

/// Lets the keys and values of every rank visit this one, its own first, and calls meet(visit, visitors) each
/// time; the next visitors travel meanwhile. Alone on the ring, a rank need not have bytes to send.
template <class T, Ring R>
void receive_visitors(R& ring, const Share& share, const HeadShape& shape, const KeyValues<const T>& own,
                      std::span<const std::byte> own_bytes, auto&& meet) {
    const int ranks = ring.ranks();
    if (ranks == 1) return meet(Visit{{Meeting::own_first, Meeting::own_last}, true, true}, own);
    Travellers<T> visiting, arriving;
    const auto meet_those_present = [&](int hop) {
        hop == 0 ? meet(Visit{{Meeting::own_first}, true, false}, own)
                 : meet(Visit{{Meeting::visiting}, false, false}, std::as_const(visiting).views());
    };
    for (int hop = 0; hop + 1 < ranks; ++hop) {
        arriving = Travellers<T>(share.of_neighbour(hop + 1), shape);
        auto exchange = ring.start_exchange(
            Channel::key_value, hop == 0 ? own_bytes : std::as_const(visiting).bytes(), arriving.bytes());
        meet_those_present(hop);
        exchange.finish();
        std::swap(visiting, arriving);
    }
    meet_those_present(ranks - 1);
    meet(Visit{{Meeting::own_last}, false, true}, own);
}

}  // namespace ring_attention::detail
