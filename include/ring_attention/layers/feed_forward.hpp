#pragma once

#include <algorithm>
#include <type_traits>

#include <ring_attention/layers/activation.hpp>
#include <ring_attention/layers/dense.hpp>
#include <ring_attention/layers/identity.hpp>

namespace ring_attention::inline RING_ATTENTION_ABI {

struct FeedForwardOptions {
    Index width = 0;
    Index inner_width = 0;
    ActivationKind activation = ActivationKind::gelu;
    bool gated = false;  ///< down(activation(gate(x)) * up(x)) in place of down(activation(up(x)))
    bool bias = true;    ///< of up, down and gate
    Storage weights = Storage::computing;  ///< of kernels; bfloat16: for inference
};

/// y = down(activation(up(x))), or where it is gated y = down(activation(gate(x)) * up(x)) (SwiGLU, GeGLU;
/// Shazeer 2020, 2002.05202): [tokens, width] => [tokens, inner_width] => [tokens, width]. In inference a
/// block of tokens after the other, so that few inner activations exist at a time (Blockwise Parallel
/// Transformer; Liu, Abbeel 2023, 2305.19370).
template <class T, FeedForwardOptions options>
struct FeedForward {
    using Scalar = T;
    static constexpr Index in_width = options.width, out_width = options.width;
    static constexpr Index inner_width = options.inner_width;
    static constexpr bool gated = options.gated;
    static constexpr Index tokens_at_once = gated ? 2048 : 4096;  // of inner activations as much

    using Up = Dense<T, in_width, inner_width, options.bias, options.weights>;
    using Down = Dense<T, inner_width, out_width, options.bias, options.weights>;

    std::conditional_t<gated, Up, Identity<T, in_width>> gate;
    Up up;
    Down down;

    static void visit(auto&& f, auto&... self) {
        if constexpr (gated) f("gate", self.gate...);
        f("up", self.up...);
        f("down", self.down...);
    }

    struct Cache {
        typename Up::Cache up;                                                      // [tokens, width]
        typename Activation<T, inner_width, options.activation>::Cache activation;  // [tokens, inner_width]
        // What goes into down, [tokens, inner_width]; of a gated layer what comes out of up, the factor, from
        // which that is made again.
        typename Down::Cache down;
    };

    Matrix<T> forward(Matrix<T> x, Cache* cache) const {
        if (cache) return down.forward(activate(std::move(x), cache), cache_of_down(cache));
        Matrix<T> y(x.rows(), out_width);
        for_each_block(x, [&](const Matrix<T>& block, Index first) {
            down.apply(activate(block, nullptr), {0, out_width},
                       detail::view(y).middle_rows(first, block.rows()),
                       [](Index, Index, std::span<const T>) {});
        });
        return y;
    }

    /// sums (tokens, width) += the output.
    void add_forward(Matrix<T> x, Cache* cache, detail::MatrixView<T> sums) const {
        down.add_forward(activate(std::move(x), cache), cache_of_down(cache), sums);
    }

    /// What goes into down: [tokens, width] => [tokens, inner_width].
    Matrix<T> activate(Matrix<T> x, Cache* cache) const {
        const auto& first = [&]() -> const Up& {
            if constexpr (gated)
                return gate;
            else
                return up;
        }();
        Matrix<T> inner(x.rows(), inner_width), activated(cache ? x.rows() : 0, inner_width);
        first.apply(
            x, {0, inner_width}, detail::view(inner), [&](Index row, Index col, std::span<T> numbers) {
                detail::activate<options.activation>(
                    numbers.data(), cache ? &activated(row, col) : numbers.data(), Index(numbers.size()));
            });
        Matrix<T>& result = cache ? activated : inner;
        if constexpr (gated) {
            Matrix<T> factor(x.rows(), inner_width);
            up.apply(x, {0, inner_width}, detail::view(factor),
                     [&](Index row, Index col, std::span<const T> numbers) {
                         detail::multiply_by(numbers.data(), &result(row, col), Index(numbers.size()));
                     });
            if (cache) cache->down.input = std::move(factor);
        }
        if (!cache) return inner;
        cache->up.input = std::move(x);
        cache->activation.input = std::move(inner);
        return activated;
    }

    /// Calls f(block, its first row) for blocks of tokens.
    static void for_each_block(const Matrix<T>& x, auto&& f) {
        if (x.rows() <= tokens_at_once) return f(x, Index(0));
        for (Index first = 0; first < x.rows(); first += tokens_at_once)
            f(detail::copy_of_rows(x, first, std::min(tokens_at_once, x.rows() - first)), first);
    }

    Matrix<T> backward(Matrix<T> d, const Cache& cache, const SeatGradients<FeedForward>& gradients) const {
        const auto of_up = gradients.part([](auto& layer) -> auto& { return layer.up; });
        const auto of_down = gradients.part([](auto& layer) -> auto& { return layer.down; });
        if constexpr (gated) {
            Matrix<T> inner = product_of(cache);
            down.add_gradients(d, inner, of_down);
            Matrix<T> d_inner(d.rows(), inner_width);
            down.input_gradient(d, detail::view(d_inner));
            into_branches(cache, d_inner, inner);
            up.add_gradients(inner, cache.up.input, of_up);
            gate.add_gradients(d_inner, cache.up.input,
                               gradients.part([](auto& layer) -> auto& { return layer.gate; }));
            up.input_gradient(inner, detail::view(d));
            gate.input_gradient(d_inner, detail::view(d), detail::Into::add);
            return d;
        } else {
            d = down.backward(std::move(d), cache.down, of_down);
            d = Activation<T, inner_width, options.activation>::input_gradient(std::move(d),
                                                                               cache.activation);
            return up.backward(std::move(d), cache.up, of_up);
        }
    }

  private:
    static auto* cache_of_down(Cache* cache) { return cache && !gated ? &cache->down : nullptr; }

    /// activation(gate(x)) * up(x).
    static Matrix<T> product_of(const Cache& cache) {
        Matrix<T> product(cache.up.input.rows(), inner_width);
        detail::parallel_rows(product.rows(), [&](Index i) {
            T* const row = product.row(i).data();
            detail::activate<options.activation>(cache.activation.input.row(i).data(), row, inner_width);
            detail::multiply_by(cache.down.input.row(i).data(), row, inner_width);
        });
        return product;
    }

    /// Of the gradient d of the product the one of up(x), and in its place the one of gate(x).
    static void into_branches(const Cache& cache, Matrix<T>& d, Matrix<T>& d_up) {
        detail::parallel_rows(d.rows(), [&](Index i) {
            const T* const gate_row = cache.activation.input.row(i).data();
            T *const d_row = d.row(i).data(), *const d_up_row = d_up.row(i).data();
            detail::activate<options.activation>(gate_row, d_up_row, inner_width);
            detail::multiply_by(d_row, d_up_row, inner_width);
            detail::multiply_by(cache.down.input.row(i).data(), d_row, inner_width);
            detail::activate_backward<options.activation>(gate_row, d_row, d_row, inner_width);
        });
    }
};

}  // namespace ring_attention::inline RING_ATTENTION_ABI
