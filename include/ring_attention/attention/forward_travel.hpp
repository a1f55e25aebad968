#pragma once

#include <initializer_list>
#include <span>
#include <utility>

#include <ring_attention/attention/hop_order.hpp>
#include <ring_attention/attention/message.hpp>
#include <ring_attention/attention/routes.hpp>
#include <ring_attention/ring/ring_reference.hpp>

namespace ring_attention::inline RING_ATTENTION_ABI::detail {

/// When a rank's queries meet keys and values, in one or more phases one after the other. hop: how many ranks
/// further on these are at home; the rank's own, which come first and last, have hop 0 and hop `ranks`.
struct HopVisit {
    std::initializer_list<HopPhase> phases;
    int hop;
    bool first, last;
};

/// While it lives, this rank computes: to the timeline "seats 0-1 meet 4-5".
inline auto compute_span(RingReference ring, const AttentionPlan& plan, int hop) {
    return TimelineSpan(ring.log().timeline, Activity::compute, [&plan, hop] {
        return "seats " + plan.queries.seats_text() + " meet " + plan.keys.of_neighbour(hop).seats_text();
    });
}

/// Whether a query of the rank sees a key of its own that it meets last.
inline bool sees_own_last(const AttentionPlan& plan) {
    bool sees = false;
    for_each_pair(HopPhase::own_last, plan.queries.num_seats(), plan.keys.num_seats(),
                  [&](Index query_seat, Index key_seat) {
                      sees = sees ||
                             plan.mask.any_visible(plan.query_tokens(query_seat), plan.keys.tokens(key_seat));
                  });
    return sees;
}

/// The last hop at which this rank meets somebody: `ranks` stands for its own, once more.
inline int last_hop_to_meet(const AttentionPlan& plan, const Routes& routes) {
    if (sees_own_last(plan)) return routes.ranks();
    int hop = routes.ranks() - 1;
    while (hop > 0 && !routes.sees(hop)) --hop;
    return hop;
}

/// Brings to this rank, hop by hop, the keys and values of those ranks of which it sees any, its own first,
/// and calls meet(HopVisit, KeyValues<const T>) when they are there; the next ones travel meanwhile. `own`
/// are the rank's, `sent` the same as they travel; alone on the ring, it need not have them.
template <class T>
void receive_messages(RingReference ring, const AttentionPlan& plan, const KeyValues<const T>& own,
                      const KeyValueMessage<T>& sent, auto&& meet) {
    const int ranks = ring.ranks();
    if (ranks == 1) return meet(HopVisit{{HopPhase::own_first, HopPhase::own_last}, 0, true, true}, own);

    const Routes routes(plan);
    const int last_hop = last_hop_to_meet(plan, routes);
    KeyValueMessage<T> present, arriving;
    for (int hop = 0; hop < ranks; ++hop) {
        arriving = {};  // before there is a new one: no more than two are to be in memory
        HopMessages messages{Channel::key_value};
        if (routes.gives_on(hop)) messages.send(routes.before(), std::as_const(present).bytes());
        if (const auto to = routes.gives_own_to(hop)) messages.send(*to, sent.bytes());
        if (const auto from = routes.giver(hop)) {
            arriving = KeyValueMessage<T>(plan.keys.of_neighbour(hop + 1), plan.heads, plan.storage);
            messages.receive(*from, arriving.bytes());
        }
        auto under_way = ring.start_hop(messages);
        if (hop == 0)
            meet(HopVisit{{HopPhase::own_first}, hop, true, hop == last_hop}, own);
        else if (routes.sees(hop))
            meet(HopVisit{{HopPhase::visiting}, hop, false, hop == last_hop}, std::as_const(present).views());
        under_way.finish();
        std::swap(present, arriving);
    }
    if (last_hop == ranks) meet(HopVisit{{HopPhase::own_last}, ranks, false, true}, own);
}

}  // namespace ring_attention::inline RING_ATTENTION_ABI::detail
