#pragma once

#include <ring_attention/layers/block.hpp>
#include <ring_attention/layers/stack.hpp>

namespace ring_attention::inline RING_ATTENTION_ABI {

/// Blocks "ring_1" ... "ring_{Layers}", dropout between them, and a last norm "final_norm".
template <class T, BlockOptions options, Index Layers>
struct Transformer {
    using Scalar = T;
    static constexpr Index in_width = options.width, out_width = options.width;
    static constexpr bool streams = Block<T, options>::streams;
    using Between =
        DropoutLayer<T, options.width, DropoutOptions{options.dropout, DropoutSite::between_blocks}>;

    Stack<Block<T, options>, Layers, Between> blocks;
    LayerNorm<T, options.width> final_norm;

    static void visit(auto&& f, auto&... self) {
        f("ring", self.blocks...);
        f("final_norm", self.final_norm...);
    }

    struct Cache {
        typename decltype(Transformer::blocks)::Cache blocks;
        typename decltype(Transformer::final_norm)::Cache final_norm;
    };

    Matrix<T> forward(Matrix<T> x, Cache* cache, const auto& pass) const {
        x = forward_layer(blocks, std::move(x), cache ? &cache->blocks : nullptr, pass);
        return forward_layer(final_norm, std::move(x), cache ? &cache->final_norm : nullptr, pass);
    }

    Matrix<T> backward(Matrix<T> d, const Cache& cache, const SeatGradients<Transformer>& gradients,
                       const auto& pass) const {
        d = backward_layer(final_norm, std::move(d), cache.final_norm,
                           gradients.part([](auto& all) -> auto& { return all.final_norm; }), pass);
        return backward_layer(blocks, std::move(d), cache.blocks,
                              gradients.part([](auto& all) -> auto& { return all.blocks; }), pass);
    }
};

}  // namespace ring_attention::inline RING_ATTENTION_ABI
