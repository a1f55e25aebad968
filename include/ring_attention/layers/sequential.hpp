#pragma once

#include <algorithm>
#include <array>
#include <concepts>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>

#include <ring_attention/layers/embedding.hpp>
#include <ring_attention/layers/named.hpp>
#include <ring_attention/layers/stream_pass.hpp>

namespace ring_attention::inline RING_ATTENTION_ABI {

namespace detail {

/// Neighbours in a list of layers fit.
template <class First, class... Rest>
struct Chain {
    static_assert(Layer<First> || FromTokens<First>, "Sequential: each part must be a layer");
    static constexpr Index out_width = First::out_width;
};

template <class First, class Second, class... Rest>
struct Chain<First, Second, Rest...> : Chain<Second, Rest...> {
    static_assert(!FromTokens<Second>, "Sequential: only the first layer may start from tokens");
    static_assert(SameWidth<First::out_width, Second::in_width>,
                  "Sequential: a layer's width is not that of the next");
};

/// What goes in at the first layer: rows of in_width, or tokens below `vocabulary`.
template <class First>
struct Entrance {
    using Input = typename First::Scalar;
    using InputGradient = Matrix<Input>;
    static constexpr Index in_width = First::in_width;
};
template <FromTokens First>
struct Entrance<First> {
    using Input = Token;
    using InputGradient = void;
    static constexpr Index vocabulary = First::vocabulary;
};

/// An Embedding treats each token alone.
template <class L>
constexpr bool part_streams() {
    if constexpr (FromTokens<L> && !requires { L::streams; })
        return true;
    else
        return StreamingLayer<L>;
}

template <class... Parts>
using LayersOf = std::tuple<typename PartOf<Parts>::Layer...>;

}  // namespace detail

template <FromTokens L>
Matrix<typename L::Scalar> forward_layer(const L& layer, Matrix<Token> tokens, typename L::Cache* cache,
                                         const auto& pass) {
    if constexpr (requires { layer.forward(std::move(tokens), cache); })
        return layer.forward(std::move(tokens), cache);
    else
        return layer.forward(std::move(tokens), cache, pass);
}

template <FromTokens L>
void backward_layer(const L& layer, Matrix<typename L::Scalar> d_output, const typename L::Cache& cache,
                    const SeatGradients<L>& gradients, const auto& pass) {
    if constexpr (requires { layer.backward(std::move(d_output), cache, gradients); })
        layer.backward(std::move(d_output), cache, gradients);
    else
        layer.backward(std::move(d_output), cache, gradients, pass);
}

/// Layers of any kind, one after the other; the first may be an Embedding, then the input is tokens. The
/// parts are called "1", "2", ..., or as Named says.
template <class... Parts>
struct Sequential : detail::Entrance<std::tuple_element_t<0, detail::LayersOf<Parts...>>> {
    using Layers = detail::LayersOf<Parts...>;
    using First = std::tuple_element_t<0, Layers>;
    using Scalar = typename First::Scalar;
    using Entrance = detail::Entrance<First>;
    static constexpr std::size_t size = sizeof...(Parts);
    static constexpr Index out_width = detail::Chain<typename detail::PartOf<Parts>::Layer...>::out_width;
    static_assert(out_width > 0);  // asks the chain, so that widths that do not fit are refused here and now

    static constexpr std::array<std::string_view, size> names{detail::PartOf<Parts>::name...};
    static constexpr std::array<bool, size> named{detail::PartOf<Parts>::is_named...},
        numbered{detail::is_numbered<Parts>()...};
    /// Names of one's own are joined by '_': "encoder_up.kernel".
    static constexpr std::string_view part_separator = (detail::PartOf<Parts>::is_named || ...) ? "_" : ".";

    static constexpr bool streams = (detail::part_streams<typename detail::PartOf<Parts>::Layer>() && ...);
    static constexpr bool each_token_alone =
        (detail::each_token_alone<typename detail::PartOf<Parts>::Layer>() && ...);
    static constexpr std::uint64_t drawn_by_numbered =
        ((detail::is_numbered<Parts>() && detail::draws<typename detail::PartOf<Parts>::Layer>() != 0) || ...)
            ? detail::draws_below
            : 0;
    template <class Part>
    static constexpr std::uint64_t drawn_by_part =
        detail::is_numbered<Part>() ? 0 : detail::draws<typename detail::PartOf<Part>::Layer>();
    static constexpr std::uint64_t draws = drawn_by_numbered | (drawn_by_part<Parts> | ...);
    static_assert(detail::draw_apart({drawn_by_numbered, drawn_by_part<Parts>...}),
                  "Sequential: two parts whose names are prefixes, or one and the others, drop at one place");

    Layers layers;

    static void visit(auto&& f, auto&... self) {
        for_each_index([&](auto i) {
            if constexpr (named[i])
                f(names[i], std::get<i>(self.layers)...);
            else
                f(std::to_string(i + 1), std::get<i>(self.layers)...);
        });
    }

    struct Cache {
        std::tuple<typename detail::PartOf<Parts>::Layer::Cache...> layers;
    };

    Matrix<Scalar> forward(Matrix<typename Entrance::Input> input, Cache* cache, const auto& pass) const {
        const auto forward_part = [&](auto i, auto x) {
            return forward_layer(std::get<i>(layers), std::move(x),
                                 cache ? &std::get<i>(cache->layers) : nullptr, pass_of<i>(pass));
        };
        Matrix<Scalar> x = forward_part(std::integral_constant<std::size_t, 0>{}, std::move(input));
        for_each_index([&](auto i) {
            if constexpr (i > 0) x = forward_part(i, std::move(x));
        });
        return x;
    }

    /// Self: a Sequential, or what derives from it to have a name.
    template <std::derived_from<Sequential> Self>
    typename Entrance::InputGradient backward(Matrix<Scalar> d, const Cache& cache,
                                              const SeatGradients<Self>& gradients, const auto& pass) const {
        const auto backward_part = [&](auto number) {
            constexpr std::size_t i = number;
            return backward_layer(
                std::get<i>(layers), std::move(d), std::get<i>(cache.layers),
                gradients.part([](Sequential & all) -> auto& { return std::get<i>(all.layers); }),
                pass_of<i>(pass));
        };
        for_each_index([&](auto from_last) {
            constexpr std::size_t i = size - 1 - from_last;
            if constexpr (i > 0) d = backward_part(std::integral_constant<std::size_t, i>{});
        });
        return backward_part(std::integral_constant<std::size_t, 0>{});
    }

  private:
    static void for_each_index(auto&& f) {
        [&]<std::size_t... i>(std::index_sequence<i...>) {
            (f(std::integral_constant<std::size_t, i>{}), ...);
        }
        (std::make_index_sequence<size>{});
    }

    /// Whether all parts from number i on treat each token alone.
    template <std::size_t i>
    static constexpr bool alone_from() {
        if constexpr (i == size)
            return true;
        else
            return detail::each_token_alone<std::tuple_element_t<i, Layers>>() && alone_from<i + 1>();
    }

    /// The pass for part number i.
    template <std::size_t i>
    static auto pass_of(const auto& pass) {
        auto part = pass.at_part(Index(i), alone_from<i + 1>());
        if (!numbered[i]) part.layer = pass.layer;
        return part;
    }
};

/// The part of a Sequential that has this name: part<"head">(layers).
template <FixedString name, class Layers>
auto& part(Layers& layers) {
    constexpr auto& names = Layers::names;
    constexpr auto found = std::find(names.begin(), names.end(), name.view());
    static_assert(found != names.end(), "part: no part of the Sequential has this name");
    return std::get<std::size_t(found - names.begin())>(layers.layers);
}

}  // namespace ring_attention::inline RING_ATTENTION_ABI
