#pragma once

#include <ring_attention/layers/dropout.hpp>
#include <ring_attention/layers/feed_forward.hpp>
#include <ring_attention/layers/norm.hpp>
#include <ring_attention/layers/residual.hpp>
#include <ring_attention/layers/ring_attention.hpp>
#include <ring_attention/layers/sequential.hpp>

namespace ring_attention::inline RING_ATTENTION_ABI {

/// Those of attention as in AttentionLayerOptions, of the feed-forward layer as in FeedForwardOptions.
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
    Index ffn_width = 0;  ///< inside the feed-forward layer; 0: 4 width
    ActivationKind activation = ActivationKind::gelu;
    bool gated = false;
    NormOptions norm{};  ///< epsilon also of the norms of queries and keys
    NormPlace norm_place = NormPlace::before;
    bool qkv_bias = true, out_bias = true, ffn_bias = true;
    bool query_key_norm = false;
    RotaryOptions rotary{};
    Storage storage = Storage::computing;
    Storage weights = Storage::computing;

    constexpr AttentionLayerOptions attention() const {
        return {.width = width,
                .heads = heads,
                .key_value_heads = key_value_heads,
                .head_width = head_width,
                .causal = causal,
                .window = window,
                .softcap = softcap,
                .scale = scale,
                .sinks = sinks,
                .qkv_bias = qkv_bias,
                .out_bias = out_bias,
                .query_key_norm = query_key_norm,
                .norm_epsilon = norm.epsilon,
                .rotary = rotary,
                .storage = storage,
                .weights = weights};
    }

    constexpr FeedForwardOptions feed_forward() const {
        return {.width = width,
                .inner_width = ffn_width > 0 ? ffn_width : 4 * width,
                .activation = activation,
                .gated = gated,
                .bias = ffn_bias,
                .weights = weights};
    }
};

namespace detail {

template <class T, BlockOptions options>
struct BlockParts {
    static constexpr Index width = options.width;
    static constexpr AttentionLayerOptions attention_options = options.attention();
    static constexpr FeedForwardOptions feed_forward_options = options.feed_forward();
    static constexpr NormOptions norm_options = options.norm;
    using Norm = ring_attention::Norm<T, width, norm_options>;
    template <DropoutSite site>
    using Drop = DropoutLayer<T, width, DropoutOptions{options.dropout, site}>;

    using Attention = Residual<Norm, RingAttention<T, attention_options>, Drop<DropoutSite::attention>,
                               options.norm_place, "attn_">;
    using FeedForward = Residual<Norm, Named<"ffn_", ring_attention::FeedForward<T, feed_forward_options>>,
                                 Drop<DropoutSite::feed_forward>, options.norm_place, "ffn_">;

    using type = Sequential<Named<"", Attention>, Named<"", FeedForward>>;
};

}  // namespace detail

/// Two residuals, by default with the norms first:
///   x += dropout(attention(attn_norm(x)))
///   x += dropout(ffn_down(gelu(ffn_up(ffn_norm(x)))))
template <class T, BlockOptions options>
struct Block : detail::BlockParts<T, options>::type {};

}  // namespace ring_attention::inline RING_ATTENTION_ABI
