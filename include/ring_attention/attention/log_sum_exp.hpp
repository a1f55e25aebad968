#pragma once

#include <cmath>
#include <limits>
#include <numbers>

#include <ring_attention/kernels/simd.hpp>

RING_ATTENTION_PRECISE_BEGIN
namespace ring_attention::inline RING_ATTENTION_ABI::detail {

// The logarithm of a sum of exponentials is as large as the largest score, and its rounding is an error of
// all weights exp(score - log_sum_exp) alike: from scores of 1e4 in float they no longer add up to 1. The
// largest score and the sum apart lose nothing. So where log_sum_exp is large, backward takes the scores to
// base 2, as forward does and with the same rounding, and
//   P = 2^(score scale2 - base2_log_sum_exp - log_sum_exp_rest),
// where the two add up to maximum + log2(sum) of forward. Small ones stay as they are: there the rounding is
// no more than that of exp itself.

/// The scale of the scores in base 2.
template <Real T>
T base2_scale(T scale) {
    return T(double(scale) * std::numbers::log2e);
}

/// Whether a log_sum_exp has a rest; one that is not finite has none.
template <Real T>
bool has_rest(T log_sum_exp) {
    return std::abs(log_sum_exp) >= T(64) && std::abs(log_sum_exp) <= std::numeric_limits<T>::max();
}

/// A quotient, for a product might be contracted with what is subtracted from it, in one of two places.
template <Real T>
T base2_log_sum_exp(T log_sum_exp) {
    return T(double(log_sum_exp) / std::numbers::ln2);
}

/// A score in base 2 in two parts. `rest` is what was rounded off, of scores so large that weights would show
/// it, and 0 for others.
template <Real T>
struct Base2Score {
    Simd<T> rounded, rest;

    Base2Score(Simd<T> score, Simd<T> scale)
        : rounded(score * scale),
          rest(select<T>(is_large(rounded), fma(score, scale, -rounded), Simd<T>(T(0)))) {}

    static typename Simd<T>::Predicate is_large(Simd<T> rounded) {
        const Simd<T> size = abs(rounded);
        return size > Simd<T>(T(1 << 20)) && size < Simd<T>(std::numeric_limits<T>::infinity());
    }
};

/// maximum: of the scores in base 2. sum: of 2^(score - maximum - rest).
template <Real T>
T log_sum_exp(T maximum, T sum, T rest = 0) {
    return T(double(maximum) * std::numbers::ln2 +
             (std::log(double(sum)) + double(rest) * std::numbers::ln2));
}

/// What the sum of weighted values is to be divided by; that of a query that has seen nothing stays 0.
template <Real T>
T divisor_of_sum(T sum) {
    return sum < std::numeric_limits<T>::min() ? T(1) : sum;
}

/// What log_sum_exp has lost, where that is large.
template <Real T>
T log_sum_exp_rest(T log_sum_exp, T maximum, T sum, T rest = 0) {
    if (!has_rest(log_sum_exp)) return T(0);
    return T(double(maximum) - double(base2_log_sum_exp(log_sum_exp)) +
             (std::log2(double(sum)) + double(rest)));
}

}  // namespace ring_attention::inline RING_ATTENTION_ABI::detail
RING_ATTENTION_PRECISE_END
