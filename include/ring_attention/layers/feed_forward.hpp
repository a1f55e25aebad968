#pragma once

#include <algorithm>

#include <ring_attention/layers/dense.hpp>
#include <ring_attention/layers/gelu.hpp>

namespace ring_attention::inline RING_ATTENTION_ABI {

/// y = down(gelu(up(x))): [tokens, Width] => [tokens, Inner] => [tokens, Width]. In inference a block of
/// tokens after the other, so that few inner activations exist at a time (Blockwise Parallel Transformer;
/// Liu, Abbeel 2023, 2305.19370).
template <class T, Index Width, Index Inner>
struct FeedForward {
    using Scalar = T;
    static constexpr Index in_width = Width, out_width = Width;
    static constexpr Index tokens_at_once = 4096;

    Dense<T, Width, Inner> up;
    Dense<T, Inner, Width> down;

    static void visit(auto&& f, auto&... self) {
        f("up", self.up...);
        f("down", self.down...);
    }

    struct Cache {
        typename Dense<T, Width, Inner>::Cache up;
        typename Gelu<T, Inner>::Cache activation;
        typename Dense<T, Inner, Width>::Cache down;
    };

    Matrix<T> forward(Matrix<T> x, Cache* cache) const {
        if (cache) return down.forward(activate(std::move(x), cache), &cache->down);
        Matrix<T> y(x.rows(), Width);
        for_each_block(x, [&](const Matrix<T>& block, Index first) {
            down.apply(activate(block, nullptr), {0, Width}, detail::view(y).middle_rows(first, block.rows()),
                       [](Index, Index, std::span<const T>) {});
        });
        return y;
    }

    /// gelu(up(x)): [tokens, Width] => [tokens, Inner].
    Matrix<T> activate(Matrix<T> x, Cache* cache) const {
        Matrix<T> inner(x.rows(), Inner);
        if (!cache) {
            up.apply(x, {0, Inner}, detail::view(inner), [](Index, Index, std::span<T> numbers) {
                detail::gelu(numbers.data(), numbers.data(), Index(numbers.size()));
            });
            return inner;
        }
        Matrix<T> activated(x.rows(), Inner);
        up.apply(x, {0, Inner}, detail::view(inner), [&](Index row, Index col, std::span<const T> numbers) {
            detail::gelu(numbers.data(), &activated(row, col), Index(numbers.size()));
        });
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
        d = down.backward(std::move(d), cache.down,
                          gradients.part([](auto& layer) -> auto& { return layer.down; }));
        d = Gelu<T, Inner>::input_gradient(std::move(d), cache.activation);
        return up.backward(std::move(d), cache.up,
                           gradients.part([](auto& layer) -> auto& { return layer.up; }));
    }
};

}  // namespace ring_attention::inline RING_ATTENTION_ABI
