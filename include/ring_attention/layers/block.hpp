#pragma once

#include <string_view>

#include <ring_attention/layers/dropout.hpp>
#include <ring_attention/layers/feed_forward.hpp>
#include <ring_attention/layers/layer_norm.hpp>
#include <ring_attention/layers/ring_attention.hpp>

namespace ring_attention::inline RING_ATTENTION_ABI {

/// Those of attention as in AttentionLayerOptions.
struct BlockOptions {
    Index width = 0;
    Index heads = 1;
    float dropout = 0;
    Index key_value_heads = 0;
    Index head_width = 0;
    bool causal = true;
    Index window = 0;
    float softcap = 0;
    float scale = 0;
    bool sinks = false;

    constexpr AttentionLayerOptions attention() const {
        return {width, heads, key_value_heads, head_width, causal, window, softcap, scale, sinks};
    }
};

/// The residual block, norms first:
///   x += dropout(attention(attn_norm(x)))
///   x += dropout(ffn_down(gelu(ffn_up(ffn_norm(x)))))       ffn_up: width -> 4 width
template <class T, BlockOptions options>
struct Block {
    using Scalar = T;
    static constexpr Index in_width = options.width, out_width = options.width;
    static constexpr bool streams = RingAttention<T, options.attention()>::streams;
    static constexpr std::string_view part_separator = "_";

    LayerNorm<T, options.width> attn_norm;
    RingAttention<T, options.attention()> attention;
    LayerNorm<T, options.width> ffn_norm;
    FeedForward<T, FeedForwardOptions{options.width, 4 * options.width}> feed_forward;
    DropoutLayer<T, options.width, DropoutOptions{options.dropout, DropoutSite::attention}> attn_dropout;
    DropoutLayer<T, options.width, DropoutOptions{options.dropout, DropoutSite::feed_forward}> ffn_dropout;

    static void visit(auto&& f, auto&... self) {
        f("attn_norm", self.attn_norm...);
        f("qkv", self.attention.qkv...);
        f("out_proj", self.attention.out_proj...);
        if constexpr (options.sinks) f("sinks", self.attention.sinks...);
        f("ffn_norm", self.ffn_norm...);
        f("ffn_up", self.feed_forward.up...);
        f("ffn_down", self.feed_forward.down...);
    }

    struct Cache {
        typename LayerNorm<T, options.width>::Cache attn_norm;
        typename RingAttention<T, options.attention()>::Cache attention;
        typename decltype(Block::attn_dropout)::Cache attn_dropout;
        typename LayerNorm<T, options.width>::Cache ffn_norm;
        typename decltype(Block::feed_forward)::Cache feed_forward;
        typename decltype(Block::ffn_dropout)::Cache ffn_dropout;
    };

    Matrix<T> forward(Matrix<T> x, Cache* cache, const auto& pass) const {
        const auto part = [&](auto member) { return cache ? &(cache->*member) : nullptr; };
        Matrix<T> mixed =
            attention.mix(attn_norm.forward(x, part(&Cache::attn_norm)), part(&Cache::attention), pass);
        if (pass.last_token_only) x = pass.last_rows(x);
        add_branch(attention.out_proj, std::move(mixed), attn_dropout, x, pass,
                   cache ? &cache->attention.out_proj : nullptr, part(&Cache::attn_dropout));

        if (cache || pass.keep_patterns) {
            Matrix<T> inner = feed_forward.activate(ffn_norm.forward(x, part(&Cache::ffn_norm)),
                                                    part(&Cache::feed_forward));
            add_branch(feed_forward.down, std::move(inner), ffn_dropout, x, pass,
                       cache ? &cache->feed_forward.down : nullptr, part(&Cache::ffn_dropout));
            return x;
        }
        feed_forward.for_each_block(x, [&](const Matrix<T>& block, Index first) {
            feed_forward.down.add_forward(feed_forward.activate(ffn_norm.forward(block, nullptr), nullptr),
                                          nullptr, detail::view(x).middle_rows(first, block.rows()));
        });
        return x;
    }

    Matrix<T> backward(Matrix<T> d, const Cache& cache, const SeatGradients<Block>& gradients,
                       const auto& pass) const {
        const auto through = [&](const auto& layer, Matrix<T> branch, const auto& its_cache, auto&& member) {
            return backward_layer(layer, std::move(branch), its_cache, gradients.part(member), pass);
        };
        Matrix<T> branch = through(
            ffn_dropout, d, cache.ffn_dropout, [](auto& b) -> auto& { return b.ffn_dropout; });
        branch = through(
            feed_forward, std::move(branch), cache.feed_forward,
            [](auto& b) -> auto& { return b.feed_forward; });
        add(through(
                ffn_norm, std::move(branch), cache.ffn_norm, [](auto& b) -> auto& { return b.ffn_norm; }),
            d);

        branch = through(
            attn_dropout, d, cache.attn_dropout, [](auto& b) -> auto& { return b.attn_dropout; });
        branch = through(
            attention, std::move(branch), cache.attention, [](auto& b) -> auto& { return b.attention; });
        add(through(
                attn_norm, std::move(branch), cache.attn_norm, [](auto& b) -> auto& { return b.attn_norm; }),
            d);
        return d;
    }

  private:
    /// x += dropout(dense(branch)).
    static void add_branch(const auto& dense, Matrix<T> branch, const auto& dropout, Matrix<T>& x,
                           const auto& pass, auto* dense_cache, auto* dropout_cache) {
        if (options.dropout > 0 && pass.keep_patterns)
            return add(dropout.forward(dense.forward(std::move(branch), dense_cache), dropout_cache, pass),
                       x);
        if (dropout_cache) *dropout_cache = {};
        dense.add_forward(std::move(branch), dense_cache, detail::view(x));
    }

    static void add(const Matrix<T>& branch, Matrix<T>& x) {
        detail::parallel_rows(x.rows(), [&](Index row) {
            detail::add(branch.row(row).data(), x.row(row).data(), options.width);
        });
    }
};

}  // namespace ring_attention::inline RING_ATTENTION_ABI
