#pragma once

#include <array>

#include <ring_attention/kernels/simd.hpp>
#include <ring_attention/kernels/vector_math.hpp>

// 2^x on SIMD vectors, for the weights of a softmax.

RING_ATTENTION_PRECISE_BEGIN
namespace ring_attention::inline RING_ATTENTION_ABI::detail {

/// q of 2^r = 1 + r q(r) on |r| <= 1/2, to 9e-8 and 2e-16 relative to 2^r. Below `lowest` lie the subnormal
/// numbers.
template <Real T>
struct Exp2Constants;

template <>
struct Exp2Constants<float> {
    static constexpr std::array<float, 5> q{0.69314697758f, 0.24022242075f, 0.055507337667f, 0.0096715131273f,
                                            0.0013264720151f};
    static constexpr float lowest = -126;
};

template <>
struct Exp2Constants<double> {
    static constexpr std::array<double, 11> q{
        0.6931471805599453258,   0.2402265069591013126,   0.05550410866482008306,    0.009618129107594125816,
        0.001333355814677461906, 0.000154035304571020654, 0.00001525273349319780236, 1.321543528801464725e-6,
        1.017819951153900244e-7, 7.073782192800036541e-9, 4.434784589425218425e-10};
    static constexpr double lowest = -1022;
};

#if defined(__AVX512DQ__)
/// 2^x = fraction 2^floor(power).
template <Real T>
struct Exp2Parts {
    Simd<T> fraction, power;
};

/// 2^(i / 32).
alignas(64) inline constexpr std::array<float, 32> powers_of_32nds{
    1.0f,        1.0218972f,  1.04427373f, 1.06714046f, 1.09050775f, 1.1143868f,  1.13878858f, 1.1637249f,
    1.18920708f, 1.21524739f, 1.24185777f, 1.26905096f, 1.29683959f, 1.32523668f, 1.35425556f, 1.38390994f,
    1.41421354f, 1.44518077f, 1.47682619f, 1.50916445f, 1.54221082f, 1.5759809f,  1.61049032f, 1.64575553f,
    1.68179286f, 1.71861935f, 1.75625217f, 1.79470909f, 1.8340081f,  1.87416768f, 1.91520655f, 1.95714414f};

/// a and b of 2^f = 1 + f (a + b f) on 0 <= f <= 1/32, to 6.6e-8 relative to 2^f.
inline constexpr std::array<float, 2> exp2_of_32nd{0.69312376f, 0.2426527f};

/// Softmax and products share the ports of fma: a table saves one of the polynomial's instructions there.
[[gnu::always_inline]] inline Exp2Parts<float> exp2_parts(Simd<float> x) {
    const Simd<float> f = fraction_of_32nd(x), power = lookup_32nd(powers_of_32nds, x);
    return {fma(power * f, polynomial(f, exp2_of_32nd), power), x};
}

[[gnu::always_inline]] inline Exp2Parts<double> exp2_parts(Simd<double> x) {
    const Simd<double> r = fraction(x);
    return {fma(r, polynomial(r, Exp2Constants<double>::q), Simd<double>(1.0)), x - r};
}
#endif

/// The weight of a softmax: 2^x for x < 100, within 2 ulp or so, exactly 1 for 0, exactly 0 where the result
/// would be subnormal (processors are slow with those) and for -infinity; NaN stays NaN.
template <Real T>
[[gnu::always_inline]] inline Simd<T> exp2_weight(Simd<T> x) {
    using Constants = Exp2Constants<T>;
#if defined(__AVX512DQ__)
    const Exp2Parts<T> parts = exp2_parts(x);
    return scale_normal(parts.fraction, parts.power, x, Constants::lowest);
#else
    const Simd<T> n = round_scaled(x, T(1)), r = x - n;
    const Simd<T> weight = fma(r, polynomial(r, Constants::q), Simd<T>(T(1))) * power_of_two(n);
    // A NaN passes through. Far below `lowest` a weight may be anything, but no subnormal number.
    return select<T>(x < Simd<T>(Constants::lowest), Simd<T>(T(0)), weight);
#endif
}

/// The same while a FlushToZero lives, in an instruction less.
template <Real T>
[[gnu::always_inline]] inline Simd<T> exp2_flushed(Simd<T> x) {
#if defined(__AVX512DQ__)
    const Exp2Parts<T> parts = exp2_parts(x);
    return scale_flushed(parts.fraction, parts.power);
#else
    return exp2_weight(x);
#endif
}

}  // namespace ring_attention::inline RING_ATTENTION_ABI::detail
RING_ATTENTION_PRECISE_END
