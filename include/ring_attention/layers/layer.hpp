#pragma once

#include <concepts>
#include <cstdint>
#include <type_traits>
#include <utility>
#include <vector>

#include <ring_attention/core/parameters.hpp>
#include <ring_attention/layers/dropout_masks.hpp>
#include <ring_attention/ring/local_ring.hpp>
#include <ring_attention/ring/seats.hpp>

namespace ring_attention {

// A layer is a plain struct of parameters that lists its parts (core/parameters.hpp), with forward, backward
// and a Cache for what backward has to remember. Backward returns the gradient of dot(d_output, output) with
// respect to the input and adds those of the parameters to a gradient, which is a layer of the same type.
// There are two kinds:
//
// - a TokenLayer treats every token (a row) alone and knows of no sequence: Dense, LayerNorm, Gelu,
// FeedForward;
// - a SequenceLayer sees all seats of the rank, and the ring: RingAttention, Block, Stack, Sequential.
//
// A TokenLayer is evaluated seat by seat, and its gradient takes one full sum a seat, in seat order: so the
// bits do not depend on which rank holds which seats.

/// What all layers of one pass through a model share.
template <Ring R>
struct Pass {
    R& ring;
    const Share& share;
    Index batch;
    MaskReference masks;      ///< of dropout in training, or none
    std::uint64_t layer = 0;  ///< where in the model: keys random numbers

    /// The pass for part number i (from 0) of the layer.
    Pass at_part(Index i) const { return {ring, share, batch, masks, layer * 1024 + std::uint64_t(i) + 1}; }
};

/// Where the gradients of each seat go: one layer of the same type a seat, perhaps the same one for all.
template <class L>
class SeatGradients {
  public:
    explicit SeatGradients(std::vector<L*> seats) : seats_(std::move(seats)) {}

    L& operator[](std::size_t seat) const { return *seats_[seat]; }
    std::size_t size() const { return seats_.size(); }

    /// Those of a part of the layer: gradients.part([](auto& layer) -> auto& { return layer.qkv; }).
    auto part(auto&& member) const {
        using Part = std::remove_reference_t<decltype(member(std::declval<L&>()))>;
        std::vector<Part*> parts;
        for (L* seat : seats_) parts.push_back(&member(*seat));
        return SeatGradients<Part>(std::move(parts));
    }

  private:
    std::vector<L*> seats_;
};

/// forward(x, cache): x is [tokens, in_width], the result [tokens, out_width]; cache is null where no
/// backward will follow.
template <class L>
concept TokenLayer = Visitable<L> && std::copyable<L> && std::default_initializable<typename L::Cache> &&
    requires(const L& layer, Matrix<typename L::Scalar> x, typename L::Cache* cache,
             const typename L::Cache& filled, L& gradient) {
    { L::in_width } -> std::convertible_to<Index>;
    { L::out_width } -> std::convertible_to<Index>;
    { layer.forward(x, cache) } -> std::same_as<Matrix<typename L::Scalar>>;
    { layer.backward(x, filled, gradient) } -> std::same_as<Matrix<typename L::Scalar>>;
};

/// forward(x, cache, pass): the same with one matrix a seat.
template <class L>
concept SequenceLayer = Visitable<L> && std::copyable<L> && std::default_initializable<typename L::Cache> &&
    requires(const L& layer, Seats<typename L::Scalar> x, typename L::Cache* cache,
             const typename L::Cache& filled, const SeatGradients<L>& gradients,
             const Pass<LocalRing>& pass) {
    { L::in_width } -> std::convertible_to<Index>;
    { L::out_width } -> std::convertible_to<Index>;
    { layer.forward(x, cache, pass) } -> std::same_as<Seats<typename L::Scalar>>;
    { layer.backward(x, filled, gradients, pass) } -> std::same_as<Seats<typename L::Scalar>>;
};

template <class L>
concept Layer = TokenLayer<L> || SequenceLayer<L>;

/// Neighbouring layers fit: in the compiler's message one reads the two widths, "288 == 256".
template <Index Given, Index Expected>
concept SameWidth = Given == Expected;

namespace detail {

template <class L>
struct SeatCache {
    using type = typename L::Cache;
};
template <TokenLayer L>
struct SeatCache<L> {
    using type = std::vector<typename L::Cache>;
};

}  // namespace detail

/// What a layer of either kind remembers of all seats of a rank.
template <Layer L>
using CacheOf = typename detail::SeatCache<L>::type;

/// Evaluates a layer of either kind on all seats of the rank.
template <Layer L>
Seats<typename L::Scalar> forward_seats(const L& layer, Seats<typename L::Scalar> x, CacheOf<L>* cache,
                                        const auto& pass) {
    if constexpr (TokenLayer<L>) {
        if (cache) cache->resize(x.size());
        for (std::size_t seat = 0; seat < x.size(); ++seat)
            x[seat] = layer.forward(std::move(x[seat]), cache ? &(*cache)[seat] : nullptr);
        return x;
    } else {
        return layer.forward(std::move(x), cache, pass);
    }
}

template <Layer L>
Seats<typename L::Scalar> backward_seats(const L& layer, Seats<typename L::Scalar> d_output,
                                         const CacheOf<L>& cache, const SeatGradients<L>& gradients,
                                         const auto& pass) {
    if constexpr (TokenLayer<L>) {
        for (std::size_t seat = 0; seat < d_output.size(); ++seat)
            d_output[seat] = layer.backward(std::move(d_output[seat]), cache[seat], gradients[seat]);
        return d_output;
    } else {
        return layer.backward(std::move(d_output), cache, gradients, pass);
    }
}

}  // namespace ring_attention
