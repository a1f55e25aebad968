#include <limits>

#include <ring_attention/layers/ring_attention.hpp>

namespace ra = ring_attention;

#ifndef CHANGE
#define CHANGE window = 3
#endif

constexpr ra::AttentionLayerOptions options = [] {
    ra::AttentionLayerOptions changed{
        .width = 8,
        .heads = 4,
        .key_value_heads = 2,
        .query_key_norm = true,
        .rotary = {.on = true, .scaling = ra::RotaryScaling::llama3, .factor = 8}};
    changed.CHANGE;
    return changed;
}();

ra::RingAttention<float, options> layer;
