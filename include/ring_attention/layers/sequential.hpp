#pragma once

#include <string>
#include <tuple>
#include <utility>

#include <ring_attention/layers/stream_pass.hpp>

namespace ring_attention::inline RING_ATTENTION_ABI {

namespace detail {

/// Neighbours in a list of layers fit.
template <Layer First, Layer... Rest>
struct Chain {
    static constexpr Index out_width = First::out_width;
};

template <Layer First, Layer Second, Layer... Rest>
struct Chain<First, Second, Rest...> : Chain<Second, Rest...> {
    static_assert(SameWidth<First::out_width, Second::in_width>,
                  "Sequential: a layer's width is not that of the next");
};

}  // namespace detail

/// A user's own composition: layers of any kind, one after the other. The parts are called "1", "2", ...
template <Layer... Layers>
struct Sequential {
    static_assert(sizeof...(Layers) > 0, "Sequential: at least one layer");
    using First = std::tuple_element_t<0, std::tuple<Layers...>>;
    using Scalar = typename First::Scalar;
    static constexpr Index in_width = First::in_width, out_width = detail::Chain<Layers...>::out_width;
    static constexpr bool streams = (StreamingLayer<Layers> && ...);
    static_assert(out_width > 0);  // asks the chain, so that widths that do not fit are refused here and now

    std::tuple<Layers...> layers;

    static void visit(auto&& f, auto&... self) {
        for_each_index([&](auto i) { f(std::to_string(i + 1), std::get<i>(self.layers)...); });
    }

    struct Cache {
        std::tuple<typename Layers::Cache...> layers;
    };

    Matrix<Scalar> forward(Matrix<Scalar> x, Cache* cache, const auto& pass) const {
        for_each_index([&](auto i) {
            x = forward_layer(std::get<i>(layers), std::move(x),
                              cache ? &std::get<i>(cache->layers) : nullptr,
                              pass.at_part(Index(i), i + 1 == sizeof...(Layers)));
        });
        return x;
    }

    Matrix<Scalar> backward(Matrix<Scalar> d, const Cache& cache, const SeatGradients<Sequential>& gradients,
                            const auto& pass) const {
        for_each_index([&](auto from_first) {
            constexpr std::size_t i = sizeof...(Layers) - 1 - from_first;
            d = backward_layer(
                std::get<i>(layers), std::move(d), std::get<i>(cache.layers),
                gradients.part([](Sequential & all) -> auto& { return std::get<i>(all.layers); }),
                pass.at_part(Index(i)));
        });
        return d;
    }

  private:
    static void for_each_index(auto&& f) {
        [&]<std::size_t... part>(std::index_sequence<part...>) {
            (f(std::integral_constant<std::size_t, part>{}), ...);
        }
        (std::index_sequence_for<Layers...>{});
    }
};

}  // namespace ring_attention::inline RING_ATTENTION_ABI
