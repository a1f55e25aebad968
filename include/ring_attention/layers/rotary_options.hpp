#pragma once

#include <ring_attention/core/types.hpp>

namespace ring_attention::inline RING_ATTENTION_ABI {

/// How the frequencies of rotary positions are stretched for sequences longer than those of training.
enum class RotaryScaling {
    none,
    linear,  ///< all by `factor` (Chen et al. 2023, 2306.15595)
    llama3,  ///< the low ones by `factor`, the high ones not, those between in part (Llama 3.1)
};

/// Which features of a head turn together.
enum class RotaryPairs {
    half_split,   ///< i and i + width / 2 (GPT-NeoX, Llama as published by Hugging Face)
    interleaved,  ///< 2 i and 2 i + 1 (Su et al. 2021, 2104.09864)
};

/// Rotary positions (Su et al. 2021, 2104.09864): pair i of a head at position p turns by the angle
/// p base^(-2i / width).
struct RotaryOptions {
    bool on = false;
    float base = 10'000;
    RotaryPairs pairs = RotaryPairs::half_split;
    RotaryScaling scaling = RotaryScaling::none;
    float factor = 1;                ///< of linear and llama3
    float low_frequency_factor = 1;  ///< this and the next two are those of llama3
    float high_frequency_factor = 4;
    int original_positions = 8192;
};

}  // namespace ring_attention::inline RING_ATTENTION_ABI
