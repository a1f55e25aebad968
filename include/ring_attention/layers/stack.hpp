#pragma once

#include <array>
#include <string>
#include <string_view>

#include <ring_attention/layers/identity.hpp>
#include <ring_attention/layers/named.hpp>
#include <ring_attention/layers/stream_pass.hpp>

namespace ring_attention::inline RING_ATTENTION_ABI {

/// All layers of a stack as they are made.
struct AllAlike {
    static void prepare(auto&, Index) {}
};

/// Layers of one type, one after the other, and a layer without parameters between each two (dropout). One
/// type is instantiated once, however many there are. Where they differ in what is not their type,
/// Differences::prepare(layer, its number from 1) says so, when the stack is made.
template <Layer L, Index num_layers, Layer Between = Identity<typename L::Scalar, L::out_width>,
          class Differences = AllAlike>
struct Stack {
    static_assert(SameWidth<L::out_width, L::in_width> && SameWidth<Between::in_width, L::out_width> &&
                  SameWidth<Between::out_width, L::in_width>);
    using Scalar = typename L::Scalar;
    static constexpr Index in_width = L::in_width, out_width = L::out_width;
    static constexpr bool streams = StreamingLayer<L> && StreamingLayer<Between>;
    static constexpr bool each_token_alone =
        detail::each_token_alone<L>() && detail::each_token_alone<Between>();
    static_assert(detail::draw_apart({detail::draws<L>(), detail::draws<Between>()}),
                  "Stack: the layer and what stands between two drop at one place");
    static constexpr std::uint64_t draws =
        detail::draws<L>() != 0 || detail::draws<Between>() != 0 ? detail::draws_below : 0;
    static constexpr std::string_view part_separator = "_";

    std::array<L, std::size_t(num_layers)> layers;
    Between between;

    Stack() {
        for (std::size_t i = 0; i < layers.size(); ++i) Differences::prepare(layers[i], Index(i) + 1);
    }

    /// The parts are called "1", "2", ....
    static void visit(auto&& f, auto&... self) {
        for (std::size_t i = 0; i < std::size_t(num_layers); ++i) f(std::to_string(i + 1), self.layers[i]...);
    }

    struct Cache {
        std::array<typename L::Cache, std::size_t(num_layers)> layers;
        std::array<typename Between::Cache, std::size_t(num_layers)> between;
    };

    Matrix<Scalar> forward(Matrix<Scalar> x, Cache* cache, const auto& pass) const {
        for (std::size_t i = 0; i < std::size_t(num_layers); ++i) {
            const bool is_last = i + 1 == std::size_t(num_layers);
            const auto here = pass.at_part(Index(i), is_last);
            x = forward_layer(layers[i], std::move(x), cache ? &cache->layers[i] : nullptr, here);
            if (!is_last)
                x = forward_layer(between, std::move(x), cache ? &cache->between[i] : nullptr, here);
        }
        return x;
    }

    Matrix<Scalar> backward(Matrix<Scalar> d, const Cache& cache, const SeatGradients<Stack>& gradients,
                            const auto& pass) const {
        const auto gradients_between = gradients.part([](Stack & stack) -> auto& { return stack.between; });
        for (std::size_t i = std::size_t(num_layers); i-- > 0;) {
            const auto here = pass.at_part(Index(i));
            if (i + 1 < std::size_t(num_layers))
                d = backward_layer(between, std::move(d), cache.between[i], gradients_between, here);
            d = backward_layer(layers[i], std::move(d), cache.layers[i],
                               gradients.part([i](Stack & stack) -> auto& { return stack.layers[i]; }), here);
        }
        return d;
    }
};

}  // namespace ring_attention::inline RING_ATTENTION_ABI
