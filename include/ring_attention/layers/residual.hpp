#pragma once

#include <algorithm>
#include <string>
#include <type_traits>

#include <ring_attention/kernels/elementwise.hpp>
#include <ring_attention/kernels/matrix_view.hpp>
#include <ring_attention/layers/dropout.hpp>
#include <ring_attention/layers/identity.hpp>
#include <ring_attention/layers/named.hpp>
#include <ring_attention/layers/norm_kind.hpp>
#include <ring_attention/layers/stream_pass.hpp>

namespace ring_attention::inline RING_ATTENTION_ABI {

namespace detail {

/// A layer that can add its output to a sum, without a matrix of its own for it: add_forward(x, cache, sums)
/// is sums (tokens, out_width) += forward(x, cache).
template <class L>
concept AddingTokenLayer = TokenLayer<L> &&
    requires(const L& layer, Matrix<typename L::Scalar> x, typename L::Cache* cache,
             MatrixView<typename L::Scalar> sums) {
    layer.add_forward(std::move(x), cache, sums);
};

/// The same in a sequence: add_forward(x, cache, pass, sums). Where forward would give the last rows alone,
/// the sums are afterwards the last rows of what they were.
template <class L>
concept AddingSequenceLayer = bool(L::adds_forward);

}  // namespace detail

/// A layer beside which its input goes on (He et al. 2015, 1512.03385), and a norm at one of three places:
///
///     before:            x += dropout(inner(norm(x)))                    (Xiong et al. 2020, 2002.04745)
///     after:             x = norm(x + dropout(inner(x)))                 (Vaswani et al. 2017, 1706.03762)
///     before_and_after:  x += dropout(post_norm(inner(norm(x))))         (Gemma 2)
///
/// Norm and Inner are layers of any width W => W, the norm a TokenLayer, the dropout a DropoutLayer. Its
/// parameters are those of "norm" and "post_norm", behind the prefix if there is one, and those of the inner
/// layer, under the names that they have there (or that Named gives it).
///
/// In inference an inner layer that treats tokens alone takes a block of them after the other, with the norm
/// (Blockwise Parallel Transformer; Liu, Abbeel 2023, 2305.19370).
template <TokenLayer Norm, class InnerPart, class Dropout, NormPlace place = NormPlace::before,
          FixedString prefix = "">
struct Residual {
    using Inner = typename detail::PartOf<InnerPart>::Layer;
    using Scalar = typename Inner::Scalar;
    using T = Scalar;
    static constexpr Index in_width = Inner::in_width, out_width = in_width;
    static_assert(SameWidth<Inner::out_width, in_width> && SameWidth<Norm::in_width, in_width> &&
                      SameWidth<Norm::out_width, in_width> && SameWidth<Dropout::in_width, in_width>,
                  "Residual: norm, inner layer and dropout must have one width");
    static constexpr bool streams = StreamingLayer<Inner>;
    static constexpr bool each_token_alone = detail::each_token_alone<Inner>();
    static constexpr std::uint64_t draws = detail::draws<Dropout>() | detail::draws<Inner>();
    static_assert(detail::draw_apart({detail::draws<Dropout>(), detail::draws<Inner>()}),
                  "Residual: the inner layer has the dropout's site");
    static constexpr std::string_view part_separator = "_";
    using PostNorm =
        std::conditional_t<place == NormPlace::before_and_after, Norm, Identity<Scalar, out_width>>;

    Norm norm;
    Inner inner;
    PostNorm post_norm;
    Dropout dropout;

    static void visit(auto&& f, auto&... self) {
        f(std::string(prefix.view()) + "norm", self.norm...);
        f(detail::PartOf<InnerPart>::name, self.inner...);
        if constexpr (place == NormPlace::before_and_after)
            f(std::string(prefix.view()) + "post_norm", self.post_norm...);
    }

    struct Cache {
        typename Norm::Cache norm;
        typename Inner::Cache inner;
        typename PostNorm::Cache post_norm;
        typename Dropout::Cache dropout;
    };

    Matrix<T> forward(Matrix<T> x, Cache* cache, const auto& pass) const {
        const auto part = [&](auto member) { return cache ? &(cache->*member) : nullptr; };
        if (adds_straight && !Dropout::acts(pass)) {
            if (cache) cache->dropout = {};
            add_inner(x, cache, pass);
        } else {
            Matrix<T> branch = forward_layer(inner, enter(x, cache), part(&Cache::inner), pass);
            if constexpr (place == NormPlace::before_and_after)
                branch = post_norm.forward(std::move(branch), part(&Cache::post_norm));
            branch = dropout.forward(std::move(branch), part(&Cache::dropout), pass);
            if (branch.rows() != x.rows()) x = pass.last_rows(x);
            add(branch, x);
        }
        if constexpr (place == NormPlace::after) return norm.forward(std::move(x), part(&Cache::norm));
        return x;
    }

    Matrix<T> backward(Matrix<T> d, const Cache& cache, const SeatGradients<Residual>& gradients,
                       const auto& pass) const {
        const auto of_norm = gradients.part([](auto& residual) -> auto& { return residual.norm; });
        if constexpr (place == NormPlace::after) d = norm.backward(std::move(d), cache.norm, of_norm);
        Matrix<T> branch = dropout.backward(
            d, cache.dropout, gradients.part([](auto& residual) -> auto& { return residual.dropout; }), pass);
        if constexpr (place == NormPlace::before_and_after)
            branch = post_norm.backward(
                std::move(branch), cache.post_norm,
                gradients.part([](auto& residual) -> auto& { return residual.post_norm; }));
        branch = backward_layer(inner, std::move(branch), cache.inner,
                                gradients.part([](auto& residual) -> auto& { return residual.inner; }), pass);
        if constexpr (place != NormPlace::after)
            branch = norm.backward(std::move(branch), cache.norm, of_norm);
        add(branch, d);
        return d;
    }

  private:
    static constexpr bool adds_straight =
        place != NormPlace::before_and_after &&
        (detail::AddingTokenLayer<Inner> || detail::AddingSequenceLayer<Inner>);

    /// What the inner layer is given.
    Matrix<T> enter(const Matrix<T>& x, Cache* cache) const {
        if constexpr (place == NormPlace::after)
            return x;
        else
            return norm.forward(x, cache ? &cache->norm : nullptr);
    }

    /// x += inner(enter(x)).
    void add_inner(Matrix<T>& x, Cache* cache, const auto& pass) const {
        if constexpr (detail::AddingSequenceLayer<Inner>)
            inner.add_forward(enter(x, cache), cache ? &cache->inner : nullptr, pass, x);
        else if constexpr (detail::AddingTokenLayer<Inner>) {
            if (cache) return inner.add_forward(enter(x, cache), &cache->inner, detail::view(x));
            for_each_block(x, [&](const Matrix<T>& block, Index first) {
                inner.add_forward(enter(block, nullptr), nullptr,
                                  detail::view(x).middle_rows(first, block.rows()));
            });
        }
    }

    /// Calls f(block, its first row) for as many tokens at once as the inner layer wants.
    static void for_each_block(const Matrix<T>& x, auto&& f) {
        if constexpr (requires { Inner::for_each_block(x, f); })
            Inner::for_each_block(x, f);
        else
            f(x, Index(0));
    }

    static void add(const Matrix<T>& branch, Matrix<T>& x) {
        detail::parallel_rows(
            x.rows(), [&](Index row) { detail::add(branch.row(row).data(), x.row(row).data(), in_width); });
    }
};

}  // namespace ring_attention::inline RING_ATTENTION_ABI
