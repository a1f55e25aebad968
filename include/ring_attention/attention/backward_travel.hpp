#pragma once

#include <algorithm>
#include <deque>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include <ring_attention/attention/forward_travel.hpp>
#include <ring_attention/core/parallel.hpp>
#include <ring_attention/kernels/elementwise.hpp>

namespace ring_attention::inline RING_ATTENTION_ABI::detail {

/// In how many parts keys and values, and their gradients, travel in backward.
inline Index num_travelling_parts(const HeadShape& shape) {
    return std::min<Index>(4, shape.batch_key_value_heads());
}

/// In backward, keys and values travel around the ring once more, and their gradients with them, which end at
/// home. A rank adds to the gradients before it sends them on: were they one message, they could travel only
/// while nobody computes. So all travel in parts, of some of the heads each, while a rank is at work on other
/// parts. Of keys and values no more than two parts are on their way at a time, of gradients one: with four
/// parts, what visits and what arrives takes 3 and 5/2 blocks of [tokens, width], where two whole messages
/// each would take 8.
///
/// What no other rank needs stays at home, and so do its gradients.
template <class T, Ring R>
class BackwardTravel {
  public:
    /// own: what the rank has at home; d_own: where its gradients are to be added.
    BackwardTravel(R& ring, const AttentionPlan& plan, const KeyValues<const T>& own,
                   const KeyValueMessage<T>& sent, const KeyValues<T>& d_own)
        : ring_(ring), plan_(plan), share_(plan.keys), own_(own), sent_(sent), d_own_(d_own) {
        const HeadShape& shape = plan.heads;
        const Index count = num_travelling_parts(shape);
        for (Index i = 0; i < count; ++i) {
            const IndexRange heads = divide(shape.batch_key_value_heads(), count, i);
            parts_.push_back({heads, {1, heads.count, heads.count, shape.key_width, shape.value_width}});
        }
    }

    /// Calls meet(visit, heads, visitors, gradients) at every hop for every part: keys and values of
    /// visitors, and gradients of them, to be added to; both of `heads` alone.
    void run(auto&& meet) {
        for (int hop = 0; hop < share_.ranks(); ++hop)
            for (Part& part : parts_) {
                depart_key_value(part, hop);
                gradients_.land(part);
                meet_present(part, hop, meet);
                depart_gradient(part, hop);
            }
        for (Part& part : parts_) {
            gradients_.land(part);
            const HopVisit home{{HopPhase::own_last}, share_.ranks(), false, true};
            if (!travels(share_)) {
                meet(home, part.heads, own_of(part), d_own_of(part));
                continue;
            }
            const KeyValues<T> gradients = part.gradient.present.views();
            meet(home, part.heads, own_of(part), gradients);
            add_heads(gradients, d_own_of(part), part.heads.count);
        }
    }

  private:
    using Exchange = decltype(std::declval<R&>().start_exchange(
        Channel::gradient, std::span<const std::byte>(), std::span<std::byte>()));

    /// Of one part, what visits and what is on its way here.
    struct Visitors {
        KeyValueMessage<T> present, arriving;
        std::optional<Exchange> exchange;
    };
    struct Part {
        IndexRange heads;
        HeadShape shape;
        Visitors key_value{}, gradient{};
    };

    /// The parts of keys and values, or of gradients, that are on their way, in the order in which they left.
    class OnTheirWay {
      public:
        OnTheirWay(Visitors Part::*which, std::size_t most) : which_(which), most_(most) {}

        void depart(Part& part, Exchange exchange) {
            (part.*which_).exchange.emplace(std::move(exchange));
            parts_.push_back(&part);
        }
        /// Before one more departs.
        void make_room() {
            while (parts_.size() >= most_) land_first();
        }
        /// So that it is present.
        void land(Part& part) {
            while ((part.*which_).exchange) land_first();
        }

      private:
        void land_first() {
            Visitors& first = parts_.front()->*which_;
            first.exchange->finish();
            first.exchange.reset();
            first.present = std::exchange(first.arriving, {});
            parts_.pop_front();
        }

        Visitors Part::*which_;
        std::size_t most_;
        std::deque<Part*> parts_;
    };

    bool travels(const Share& home) const { return travels_on(plan_, home.rank(), 0); }

    void depart_key_value(Part& part, int hop) {
        key_values_.land(part);
        if (hop + 1 == share_.ranks()) return;
        key_values_.make_room();
        const Share next_home = share_.of_neighbour(hop + 1);
        const bool sends = travels_on(plan_, share_.of_neighbour(hop).rank(), hop);
        if (travels_on(plan_, next_home.rank(), hop))
            part.key_value.arriving = KeyValueMessage<T>(next_home, part.shape);
        const auto present =
            hop == 0 ? sent_.bytes(part.heads) : std::as_const(part.key_value.present).bytes();
        key_values_.depart(
            part, ring_.start_exchange(Channel::key_value, sends ? present : std::span<const std::byte>(),
                                       part.key_value.arriving.bytes()));
    }

    void meet_present(Part& part, int hop, auto& meet) {
        if (hop > 0) {
            if (plan_.sees(share_.rank(), share_.of_neighbour(hop).rank()))
                meet(HopVisit{{HopPhase::visiting}, hop, false, false}, part.heads,
                     std::as_const(part.key_value.present).views(), part.gradient.present.views());
            return;
        }
        if (travels(share_)) {
            part.gradient.present = KeyValueMessage<T>(share_, part.shape);
            part.gradient.present.set_zero();
        }
        meet(HopVisit{{HopPhase::own_first}, hop, true, false}, part.heads, own_of(part),
             travels(share_) ? part.gradient.present.views() : d_own_of(part));
    }

    void depart_gradient(Part& part, int hop) {
        gradients_.make_room();
        const Share next_home = share_.of_neighbour(hop + 1);  // in the end this rank's own
        if (travels(next_home)) part.gradient.arriving = KeyValueMessage<T>(next_home, part.shape);
        gradients_.depart(
            part, ring_.start_exchange(Channel::gradient, std::as_const(part.gradient.present).bytes(),
                                       part.gradient.arriving.bytes()));
    }

    KeyValues<const T> own_of(const Part& part) const { return of_part(own_, part); }
    KeyValues<T> d_own_of(const Part& part) const { return of_part(d_own_, part); }

    static auto of_part(const auto& all_heads, const Part& part) {
        auto views = all_heads;
        for (auto& seat : views) seat = seat.from_head(part.heads.first);
        return views;
    }

    static void add_heads(const KeyValues<T>& from, const KeyValues<T>& to, Index heads) {
        const auto add_rows = [](MatrixView<T> rows, MatrixView<T> sums) {
            for (Index i = 0; i < rows.rows; ++i) add(&rows(i, 0), &sums(i, 0), rows.cols);
        };
        for (std::size_t seat = 0; seat < from.size(); ++seat)
            parallel_for(heads, [&](Index head) {
                add_rows(from[seat].key(head), to[seat].key(head));
                add_rows(from[seat].value(head), to[seat].value(head));
            });
    }

    R& ring_;
    const AttentionPlan& plan_;
    const Share& share_;

    const KeyValues<const T>& own_;
    const KeyValueMessage<T>& sent_;
    const KeyValues<T>& d_own_;
    std::vector<Part> parts_;
    OnTheirWay key_values_{&Part::key_value, 2}, gradients_{&Part::gradient, 1};
};

}  // namespace ring_attention::inline RING_ATTENTION_ABI::detail
