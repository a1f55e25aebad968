#pragma once

#include <ring_attention/layers/dense.hpp>
#include <ring_attention/layers/gelu.hpp>

namespace ring_attention {

/// y = down(gelu(up(x))): [tokens, Width] => [tokens, Inner] => [tokens, Width]. Evaluated seat by seat, so
/// that only one seat's inner activations exist at a time in inference (Blockwise Parallel Transformer; Liu,
/// Abbeel 2023, 2305.19370).
template <class T, Index Width, Index Inner>
struct FeedForward {
    using Scalar = T;
    static constexpr Index in_width = Width, out_width = Width;

    Dense<T, Width, Inner> up;
    Gelu<T, Inner> activation;
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
        x = up.forward(std::move(x), cache ? &cache->up : nullptr);
        x = activation.forward(std::move(x), cache ? &cache->activation : nullptr);
        return down.forward(std::move(x), cache ? &cache->down : nullptr);
    }

    Matrix<T> backward(Matrix<T> d, const Cache& cache, FeedForward& gradient) const {
        d = down.backward(std::move(d), cache.down, gradient.down);
        d = activation.backward(std::move(d), cache.activation, gradient.activation);
        return up.backward(std::move(d), cache.up, gradient.up);
    }
};

}  // namespace ring_attention
