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
struct HopVisit {
    std::initializer_list<HopPhase> phases;
    int hop;
    bool first, last;
};

auto compute_span(auto& ring, const AttentionPlan& plan, int hop) {
    return TimelineSpan(ring.log().timeline, Activity::compute, [&plan, hop] {
        return "seats " + plan.queries.seats_text() + " meet " + plan.keys.of_neighbour(hop).seats_text();
    });
}

template <class T, Ring R>
void receive_messages(R& ring, const AttentionPlan& plan, const KeyValues<const T>& own,
                      const KeyValueMessage<T>& sent, auto&& meet) {
    const int ranks = ring.ranks(), rank = ring.rank();
    if (ranks == 1) return meet(HopVisit{{HopPhase::own_first, HopPhase::own_last}, 0, true, true}, own);
    KeyValueMessage<T> visiting, arriving;
    for (int hop = 0; hop < ranks; ++hop) {
        const int home = (rank + hop) % ranks, next_home = (rank + hop + 1) % ranks;
        arriving = {};
        if (travels_on(plan, next_home, hop))
            arriving = KeyValueMessage<T>(plan.keys.of_neighbour(hop + 1), plan.heads);
        const auto present = (hop == 0 ? sent : std::as_const(visiting)).bytes();
        auto exchange = ring.start_exchange(
            Channel::key_value, travels_on(plan, home, hop) ? present : std::span<const std::byte>(),
            arriving.bytes());
        if (hop == 0)
            meet(HopVisit{{HopPhase::own_first}, hop, true, false}, own);
        else if (plan.sees(rank, home))
            meet(HopVisit{{HopPhase::visiting}, hop, false, false}, std::as_const(visiting).views());
        exchange.finish();
        std::swap(visiting, arriving);
    }
    meet(HopVisit{{HopPhase::own_last}, ranks, false, true}, own);
}

}  // namespace ring_attention::inline RING_ATTENTION_ABI::detail
