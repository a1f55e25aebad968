#pragma once

#include <algorithm>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include <ring_attention/ring/visitors.hpp>

namespace ring_attention::detail {

/// In how many messages the gradients of a rank's keys and values travel.
inline Index num_gradient_parts(const HeadShape& shape) { return std::min<Index>(4, shape.batch_heads()); }

/// The gradients of keys and values, which travel with them around the whole ring and end at home. A rank adds to
/// them before it sends them on, so they could only travel while nobody computes, were they one message: they are a
/// few, of some heads each, so that those of the first heads travel while a rank is at work on the others.
///
/// What no other rank needs stays at home, and so do its gradients.
template <class T, Ring R>
class TravellingGradients {
  public:
    TravellingGradients(R& ring, const Share& share, const HeadShape& shape, const Mask& mask)
        : ring_(ring), share_(share), mask_(mask) {
        const Index parts = num_gradient_parts(shape);
        for (Index part = 0; part < parts; ++part) {
            const Run heads = divide(shape.batch_heads(), parts, part);
            Part& made = parts_.emplace_back();
            made.heads = heads;
            made.shape = {1, heads.count, shape.head_dim};
            made.present = Travellers<T>(share, made.shape);
            made.present.set_zero();
        }
    }

    /// At each hop, also where there are no meetings: calls add(heads, gradients of these heads) for all heads, in
    /// parts, each when it has arrived; then it travels on.
    void visit(const Visit& at, auto&& add) {
        for (Part& part : parts_) {
            if (at.hop > 0) arrive(part, at);
            add(part.heads, part.present.views());
            if (!at.last) depart(part, at.hop);
        }
    }

  private:
    using Exchange = decltype(std::declval<R&>().start_exchange(
        Channel::gradient, std::span<const std::byte>(), std::span<std::byte>()));

    struct Part {
        Run heads;
        HeadShape shape;
        Travellers<T> present, arriving, own;
        std::optional<Exchange> exchange;
    };

    bool travels(const Share& home) const { return hops_to_travel(home, mask_) > 0; }

    void depart(Part& part, int hop) {
        const bool sends = travels(share_.of_neighbour(hop));
        const Share next_home = share_.of_neighbour(hop + 1);
        part.arriving = travels(next_home) ? Travellers<T>(next_home, part.shape) : Travellers<T>();
        part.exchange.emplace(ring_.start_exchange(
            Channel::gradient, sends ? std::as_const(part.present).bytes() : std::span<const std::byte>(),
            part.arriving.bytes()));
    }

    void arrive(Part& part, const Visit& at) {
        part.exchange->finish();
        part.exchange.reset();
        const bool own_stay = !travels(share_);
        if (own_stay && at.hop == 1) std::swap(part.own, part.present);
        std::swap(part.present, part.arriving);
        if (own_stay && at.last) std::swap(part.present, part.own);
    }

    R& ring_;
    const Share& share_;
    const Mask mask_;
    std::vector<Part> parts_;
};

}  // namespace ring_attention::detail
