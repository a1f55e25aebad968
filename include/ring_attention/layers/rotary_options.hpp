#pragma once

#include <limits>

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

namespace detail {

/// Not negative, finite.
constexpr bool is_factor(float value) {
    return value >= 0 && value <= std::numeric_limits<float>::max();
}

/// The first rule that is broken, in one readable line.
template <RotaryOptions o, Index head_width>
struct CheckedRotary {
    static constexpr bool scales = o.on && o.scaling != RotaryScaling::none;
    static constexpr bool llama3 = o.on && o.scaling == RotaryScaling::llama3;
    static_assert(!o.on || head_width % 2 == 0, "RotaryOptions: head_width must be even");
    static_assert(!o.on || (is_factor(o.base) && o.base > 0),
                  "RotaryOptions: base must be finite and positive");
    static_assert(!o.on || (is_factor(o.factor) && o.factor >= 1),
                  "RotaryOptions: factor must be finite and at least 1");
    static_assert(!o.on || scales || o.factor == 1, "RotaryOptions: factor needs a scaling");
    static_assert(!llama3 || (is_factor(o.low_frequency_factor) && o.low_frequency_factor > 0),
                  "RotaryOptions: low_frequency_factor must be finite and positive");
    static_assert(!llama3 || (is_factor(o.high_frequency_factor) &&
                              !(o.high_frequency_factor <= o.low_frequency_factor)),
                  "RotaryOptions: high_frequency_factor must be finite and more than low_frequency_factor");
    static_assert(!llama3 || o.original_positions > 0, "RotaryOptions: original_positions must be positive");
};

}  // namespace detail

}  // namespace ring_attention::inline RING_ATTENTION_ABI
