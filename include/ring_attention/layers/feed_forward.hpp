#pragma once

#include <algorithm>

#include <ring_attention/layers/dense.hpp>
#include <ring_attention/layers/gelu.hpp>

namespace ring_attention {

/// y = down(gelu(up(x))): [tokens, Width] => [tokens, Inner] => [tokens, Width]. In inference a block of
/// tokens after the other, so that few inner activations exist at a time (Blockwise Parallel Transformer;
/// Liu, Abbeel 2023, 2305.19370).
template <class T, Index Width, Index Inner>
struct FeedForward {
    using Scalar = T;
    static constexpr Index in_width = Width, out_width = Width;
    static constexpr Index tokens_at_once = 2048;

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
        Matrix<T> y = Matrix<T>::Zero(x.rows(), Width);
        if (cache)
            y = down.forward(activate(std::move(x), cache), &cache->down);
        else
            for_each_block(x.rows(), [&](Index first, Index count) {
                y.middleRows(first, count) =
                    down.forward(activate(x.middleRows(first, count), nullptr), nullptr);
            });
        return y;
    }

    /// gelu(up(x)): [tokens, Width] => [tokens, Inner].
    Matrix<T> activate(Matrix<T> x, Cache* cache) const {
        Matrix<T> inner(x.rows(), Inner);
        if (!cache) {
            up.apply(x, {0, Inner}, inner, [](Index, Index, std::span<T> numbers) {
                gelu(numbers.data(), numbers.data(), Index(numbers.size()));
            });
            return inner;
        }
        Matrix<T> activated(x.rows(), Inner);
        up.apply(x, {0, Inner}, inner, [&](Index row, Index col, std::span<const T> numbers) {
            gelu(numbers.data(), &activated(row, col), Index(numbers.size()));
        });
        cache->up.input = std::move(x);
        cache->activation.input = std::move(inner);
        return activated;
    }

    /// Calls f(first, count) for blocks of tokens.
    static void for_each_block(Index tokens, auto&& f) {
        for (Index first = 0; first < tokens; first += tokens_at_once)
            f(first, std::min(tokens_at_once, tokens - first));
    }

    Matrix<T> backward(Matrix<T> d, const Cache& cache, const SeatGradients<FeedForward>& gradients) const {
        d = down.backward(std::move(d), cache.down,
                          gradients.part([](auto& layer) -> auto& { return layer.down; }));
        d = Gelu<T, Inner>::input_gradient(std::move(d), cache.activation);
        return up.backward(std::move(d), cache.up,
                           gradients.part([](auto& layer) -> auto& { return layer.up; }));
    }
};

}  // namespace ring_attention
