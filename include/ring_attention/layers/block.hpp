#pragma once

#include <ring_attention/layers/dropout.hpp>
#include <ring_attention/layers/feed_forward.hpp>
#include <ring_attention/layers/layer_norm.hpp>
#include <ring_attention/layers/residual.hpp>
#include <ring_attention/layers/ring_attention.hpp>
#include <ring_attention/layers/sequential.hpp>

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

namespace detail {

template <class T, BlockOptions options>
struct BlockParts {
    static constexpr Index width = options.width;
    static constexpr AttentionLayerOptions attention_options = options.attention();
    using Norm = LayerNorm<T, width>;
    template <DropoutSite site>
    using Drop = DropoutLayer<T, width, DropoutOptions{options.dropout, site}>;

    using Attention = Residual<Norm, RingAttention<T, attention_options>, Drop<DropoutSite::attention>,
                               NormPlace::before, "attn_">;
    using FeedForward = Residual<Norm, Named<"ffn_", ring_attention::FeedForward<T, width, 4 * width>>,
                                 Drop<DropoutSite::feed_forward>, NormPlace::before, "ffn_">;

    using type = Sequential<Named<"", Attention>, Named<"", FeedForward>>;
};

}  // namespace detail

/// The residual block, norms first:
///   x += dropout(attention(attn_norm(x)))
///   x += dropout(ffn_down(gelu(ffn_up(ffn_norm(x)))))       ffn_up: width -> 4 width
template <class T, BlockOptions options>
using Block = typename detail::BlockParts<T, options>::type;

}  // namespace ring_attention::inline RING_ATTENTION_ABI
