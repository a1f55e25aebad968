#pragma once

#include <ring_attention/core/types.hpp>
#include <ring_attention/layers/norm_kind.hpp>

namespace ring_attention::inline RING_ATTENTION_ABI {

struct NormOptions {
    NormKind kind = NormKind::layer;
    float epsilon = 1e-5f;  ///< meant as it is written: 1e-5f is the double 1e-5 where a norm computes so
};

namespace detail {

/// The double with the fewest decimal digits that the float stands for: 1e-5 for 1e-5f. Not negative.
constexpr double as_written(float number) {
    double power = 1;
    for (int digits = 0; digits <= 22; ++digits, power *= 10) {  // as far as powers of ten are exact
        const double scaled = double(number) * power;
        if (scaled > 0x1p53) break;
        const double whole = double(Index(scaled + 0.5));
        if (float(whole / power) == number) return whole / power;
    }
    return double(number);
}

}  // namespace detail

}  // namespace ring_attention::inline RING_ATTENTION_ABI
