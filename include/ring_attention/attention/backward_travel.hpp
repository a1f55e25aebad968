#pragma once

#include <algorithm>
#include <deque>
#include <optional>
#include <utility>
#include <vector>

#include <ring_attention/attention/forward_travel.hpp>

namespace ring_attention::inline RING_ATTENTION_ABI::detail {

/// In how many parts keys and values, and their gradients, travel in backward.
inline Index num_travelling_parts(const HeadShape& shape) {
    return std::min<Index>(4, shape.batch_key_value_heads());
}

/// In backward, keys and values travel as they do forward, and their gradients on the same routes, which end
/// at home. A rank adds to the gradients before it sends them on: were they one message, they could travel
/// only while nobody computes. So all travel in parts, of some of the key-value heads each, while a rank is
/// at work on other parts. Of keys and values no more than two parts are on their way at a time, of gradients
/// one: with four parts, what visits and what arrives takes 3 and 5/2 blocks of [tokens, width], where two
/// whole messages each would take 8. A part of the rank's own gradients that leaves or comes home takes half
/// a block more; while they wait at home they are where they are to be in the end.
template <class T>
class BackwardTravel {
  public:
    /// own: what the rank has at home; d_own: where its gradients are to be added.
    BackwardTravel(RingReference ring, const AttentionPlan& plan, const KeyValues<const T>& own,
                   const KeyValueMessage<T>& sent, const KeyValues<T>& d_own)
        : ring_(ring), plan_(plan), routes_(plan), own_(own), sent_(sent), d_own_(d_own) {
        const HeadShape& all = plan.heads;
        const Index count = num_travelling_parts(all);
        for (Index i = 0; i < count; ++i) {
            Part& part = parts_.emplace_back();
            part.heads = divide(all.batch_key_value_heads(), count, i);
            part.shape = {1, part.heads.count * all.group(), part.heads.count, all.key_width,
                          all.value_width};
        }
    }

    /// Calls meet(HopVisit, IndexRange heads, KeyValues<const T> visitors, KeyValues<T> gradients) at every
    /// hop for every part: keys and values of visitors, and gradients of them, to be added to; both of
    /// `heads` alone, which are numbers batch * key_value_heads + head.
    void run(auto&& meet) {
        for (int hop = 0; hop < routes_.ranks(); ++hop)
            for (Part& part : parts_) {
                depart_key_value(part, hop);
                land(gradients_, part);
                meet_present(part, hop, meet);
                depart_gradient(part, hop);
            }
        for (Part& part : parts_) {
            land(gradients_, part);
            meet_own(part, HopVisit{{HopPhase::own_last}, routes_.ranks(), false, true}, meet);
        }
    }

  private:
    /// Of one part, what visits this rank, and what is on its way here. Of the rank's own gradients, what is
    /// on its way from or to home.
    struct Travelling {
        KeyValueMessage<T> present{}, arriving{}, own{};
        bool own_returns = false;
        std::optional<RingReference::Hop> hop{};
    };
    struct Part {
        IndexRange heads{};
        HeadShape shape{};
        Travelling key_value{}, gradient{};
    };
    /// The parts of keys and values, or of gradients, that are on their way, in the order in which they left.
    struct OnTheirWay {
        Travelling Part::*which;
        std::size_t most;
        std::deque<Part*> parts{};
    };

    void depart(OnTheirWay& those, Part& part, const HopMessages& messages) {
        (part.*those.which).hop.emplace(ring_.start_hop(messages));
        those.parts.push_back(&part);
    }
    /// Before one more departs.
    void make_room(OnTheirWay& those) {
        while (those.parts.size() >= those.most) land_first(those);
    }
    /// So that it is present.
    void land(OnTheirWay& those, Part& part) {
        while ((part.*those.which).hop) land_first(those);
    }
    void land_first(OnTheirWay& those) {
        Part& part = *those.parts.front();
        Travelling& first = part.*those.which;
        first.hop->finish();
        first.hop.reset();
        first.present = std::exchange(first.arriving, {});
        if (std::exchange(first.own_returns, false))
            copy_heads<T>(std::as_const(first.own).views(), d_own_of(part), part.heads.count);
        first.own = {};
        those.parts.pop_front();
    }

    void depart_key_value(Part& part, int hop) {
        land(key_values_, part);
        if (hop + 1 == routes_.ranks()) return;
        make_room(key_values_);
        HopMessages messages{Channel::key_value};
        if (routes_.gives_on(hop))
            messages.send(routes_.before(), std::as_const(part.key_value.present).bytes());
        if (const auto to = routes_.gives_own_to(hop)) messages.send(*to, sent_.bytes(part.heads));
        receive_next(part, part.key_value, plan_.storage, hop, messages);
        depart(key_values_, part, messages);
    }

    void meet_present(Part& part, int hop, auto& meet) {
        if (hop == 0) return meet_own(part, HopVisit{{HopPhase::own_first}, hop, true, false}, meet);
        if (routes_.sees(hop))
            meet(HopVisit{{HopPhase::visiting}, hop, false, false}, part.heads,
                 std::as_const(part.key_value.present).views(), part.gradient.present.views());
    }

    void meet_own(Part& part, const HopVisit& visit, auto& meet) {
        meet(visit, part.heads, KeyValues<const T>(of_part(own_, part)), d_own_of(part));
    }

    /// Of messages between the same two ranks those that come home are the first, for both.
    void depart_gradient(Part& part, int hop) {
        make_room(gradients_);
        Travelling& gradient = part.gradient;
        HopMessages messages{Channel::gradient};
        const auto present = std::as_const(gradient.present).bytes();
        if (const auto home = routes_.gives_home_to(hop)) messages.send(*home, present);
        if (routes_.gives_on(hop)) messages.send(routes_.before(), present);
        if (const auto to = routes_.gives_own_to(hop)) {
            gradient.own = KeyValueMessage<T>(plan_.keys, part.shape);
            copy_heads<T>(const_views(d_own_of(part)), gradient.own.views(), part.heads.count);
            messages.send(*to, std::as_const(gradient.own).bytes());
        }
        if (const auto from = routes_.gives_back(hop)) {
            gradient.own = KeyValueMessage<T>(plan_.keys, part.shape);
            gradient.own_returns = true;
            messages.receive(*from, gradient.own.bytes());
        }
        receive_next(part, gradient, Storage::computing, hop, messages);
        depart(gradients_, part, messages);
    }

    void receive_next(const Part& part, Travelling& travelling, Storage storage, int hop,
                      HopMessages& messages) const {
        const auto from = routes_.giver(hop);
        if (!from) return;
        travelling.arriving = KeyValueMessage<T>(plan_.keys.of_neighbour(hop + 1), part.shape, storage);
        messages.receive(*from, travelling.arriving.bytes());
    }

    KeyValues<T> d_own_of(const Part& part) const { return of_part(d_own_, part); }

    static auto of_part(const auto& all_heads, const Part& part) {
        auto views = all_heads;
        for (auto& seat : views) seat = seat.from_head(part.heads.first);
        return views;
    }

    static KeyValues<const T> const_views(const KeyValues<T>& views) {
        return KeyValues<const T>(views.begin(), views.end());
    }

    RingReference ring_;
    const AttentionPlan& plan_;
    const Routes routes_;
    const KeyValues<const T>& own_;
    const KeyValueMessage<T>& sent_;
    const KeyValues<T>& d_own_;
    std::vector<Part> parts_;
    OnTheirWay key_values_{&Part::key_value, 2}, gradients_{&Part::gradient, 1};
};

}  // namespace ring_attention::inline RING_ATTENTION_ABI::detail
