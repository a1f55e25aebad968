#pragma once

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
        if (!cache && x.rows() > tokens_at_once) return forward_in_blocks(std::move(x));
        Matrix<T> inner(x.rows(), Inner), activated;
        if (!cache) {
            up.apply(x, {0, Inner}, inner, [](Index, Index, std::span<T> numbers) {
                gelu(numbers.data(), numbers.data(), Index(numbers.size()));
            });
            return down.forward(std::move(inner), nullptr);
        }
        activated.resize(x.rows(), Inner);
        up.apply(x, {0, Inner}, inner, [&](Index row, Index col, std::span<T> numbers) {
            gelu(numbers.data(), &activated(row, col), Index(numbers.size()));
        });
        cache->up.input = std::move(x);
        cache->activation.input = std::move(inner);
        return down.forward(std::move(activated), &cache->down);
    }

    Matrix<T> backward(Matrix<T> d, const Cache& cache, const SeatGradients<FeedForward>& gradients) const {
        d = down.backward(std::move(d), cache.down,
                          gradients.part([](auto& layer) -> auto& { return layer.down; }));
        d = Gelu<T, Inner>::input_gradient(std::move(d), cache.activation);
        return up.backward(std::move(d), cache.up,
                           gradients.part([](auto& layer) -> auto& { return layer.up; }));
    }

  private:
    Matrix<T> forward_in_blocks(Matrix<T> x) const {
        for (Index first = 0; first < x.rows(); first += tokens_at_once) {
            auto block = x.middleRows(first, std::min(tokens_at_once, x.rows() - first));
            block = forward(Matrix<T>(block), nullptr);
        }
        return x;
    }
};

}  // namespace ring_attention
