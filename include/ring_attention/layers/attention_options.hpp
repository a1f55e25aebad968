#pragma once

#include <algorithm>

#include <ring_attention/core/storage.hpp>
#include <ring_attention/layers/rotary_options.hpp>

namespace ring_attention::inline RING_ATTENTION_ABI {

/// What a RingAttention layer is. A wrong one is a compile error in one sentence.
struct AttentionLayerOptions {
    Index width = 0;            ///< of input and output, required
    Index heads = 1;            ///< of queries
    Index key_value_heads = 0;  ///< which several query heads share; divides heads; 0: as many as heads
    Index head_width = 0;       ///< of a query, a key and a value; 0: width / heads
    bool causal = true;         ///< a token sees itself and those before it
    Index window = 0;           ///< 0: none; else a token sees those less than so many positions away
    float softcap = 0;          ///< 0: none; else score := softcap tanh(score / softcap)
    float scale = 0;            ///< of the scores; 0: 1 / sqrt(head_width)
    bool sinks = false;         ///< a parameter a head: a score more in every softmax, without a value
    bool qkv_bias = true, out_bias = true;
    bool query_key_norm = false;  ///< a norm of each head of queries and of keys, before the rotary positions
    float norm_epsilon = 1e-6f;   ///< of that norm
    RotaryOptions rotary{};       ///< of queries and keys
    Storage storage = Storage::computing;  ///< of keys and values, while they are kept and sent
    Storage weights = Storage::computing;  ///< of kernels; bfloat16: for inference
};

namespace detail {

/// The first rule that is broken, in one readable line; and what a 0 stands for.
template <AttentionLayerOptions o>
struct CheckedAttention {
    static constexpr bool counts = o.width > 0 && o.heads > 0 && o.key_value_heads >= 0 && o.head_width >= 0;
    static_assert(o.width > 0, "RingAttention: width is required and must be positive");
    static_assert(o.heads > 0, "RingAttention: heads must be positive");
    static_assert(o.key_value_heads >= 0, "RingAttention: key_value_heads must not be negative");
    static_assert(!counts || o.heads % (o.key_value_heads > 0 ? o.key_value_heads : 1) == 0,
                  "RingAttention: key_value_heads must divide heads");
    static_assert(o.head_width >= 0, "RingAttention: head_width must not be negative");
    static_assert(!counts || o.head_width > 0 || o.width % (counts ? o.heads : 1) == 0,
                  "RingAttention: heads must divide width where head_width is not given");
    static_assert(o.window >= 0, "RingAttention: window must not be negative");
    static_assert(is_factor(o.softcap), "RingAttention: softcap must be finite and not negative");
    static_assert(is_factor(o.scale), "RingAttention: scale must be finite and not negative");
    static_assert(!o.query_key_norm || (is_factor(o.norm_epsilon) && o.norm_epsilon > 0),
                  "RingAttention: norm_epsilon must be finite and positive");

    static constexpr Index heads = counts ? o.heads : 1;
    static constexpr Index key_value_heads = counts && o.key_value_heads > 0 ? o.key_value_heads : heads;
    static constexpr Index head_width = !counts            ? 1
                                        : o.head_width > 0 ? o.head_width
                                                           : std::max<Index>(1, o.width / heads);
    static constexpr Index width = counts ? o.width : 1;
    static_assert(sizeof(CheckedRotary<o.rotary, head_width>) > 0);
};

}  // namespace detail

}  // namespace ring_attention::inline RING_ATTENTION_ABI
