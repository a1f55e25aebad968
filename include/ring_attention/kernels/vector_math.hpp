#pragma once

#include <array>
#include <cstddef>
#include <limits>

#include <ring_attention/kernels/simd.hpp>

// exp, erf and the normal distribution on SIMD vectors. The polynomials are minimax fits (Remez) made for
// this library. Products that are added to something are written as fma, so that the bits do not depend on
// what a compiler contracts.

RING_ATTENTION_PRECISE_BEGIN
namespace ring_attention::inline RING_ATTENTION_ABI::detail {

/// coefficients[0] + coefficients[1] x + ..., by Horner's rule.
template <Real T, std::size_t count>
[[gnu::always_inline]] inline Simd<T> polynomial(Simd<T> x, const std::array<T, count>& coefficients) {
    Simd<T> value(coefficients[count - 1]);
    unrolled<int(count) - 1>(
        [&](auto i) { value = fma(value, x, Simd<T>(coefficients[count - 2 - std::size_t(int(i))])); });
    return value;
}

template <Real T>
struct ExpConstants;

/// q of exp(r) = 1 + r + r^2 q(r) on |r| <= ln(2) / 2, to 4e-9 relative to exp.
/// ln 2 = ln2_high + ln2_low, where n ln2_high is exact. Outside [lowest, highest] the result is 0 or
/// infinity. round: adding it moves the ones' place of a number to the last bit, on top of the bias of the
/// exponent.
template <>
struct ExpConstants<float> {
    static constexpr std::array<float, 5> q{0.4999999391f, 0.1666652397f, 0.04166832652f, 0.008368412871f,
                                            0.001381626763f};
    static constexpr float ln2_high = 0.693359375f, ln2_low = -0.0002121944400546905827679f;
    static constexpr float lowest = -105, highest = 90;
    static constexpr float round = 12582912.0f + 127.0f;
    static constexpr int mantissa_bits = 23;
};

template <>
struct ExpConstants<double> {
    static constexpr std::array<double, 10> q{
        0.5000000000000007354,   0.1666666666666643581,    0.04166666666655369286,    0.0083333333334884185,
        0.001388888893816220347, 0.0001984126950661395689, 0.00002480149821290538758, 2.755759472731919229e-6,
        2.762857807063939962e-7, 2.499543197889402122e-8};
    static constexpr double ln2_high = 0.69314718036912381649, ln2_low = 1.908214929270587816144e-10;
    static constexpr double lowest = -747, highest = 711;
    static constexpr double round = 6755399441055744.0 + 1023.0;
    static constexpr int mantissa_bits = 52;
};

/// 2^n for a whole number n within the range of normal numbers.
template <Real T>
[[gnu::always_inline]] inline Simd<T> power_of_two(Simd<T> n) {
    using Constants = ExpConstants<T>;
    return from_bits<T>(to_bits(n + Simd<T>(Constants::round)) << Constants::mantissa_bits);
}

/// factor x, rounded to a whole number.
template <Real T>
[[gnu::always_inline]] inline Simd<T> round_scaled(Simd<T> x, T factor) {
    const Simd<T> round(ExpConstants<T>::round);
    return fma(x, Simd<T>(factor), round) - round;
}

/// exp x as a number near 1 and a power of two in two steps: in one it may be out of range where factor exp x
/// is not.
template <Real T>
struct ExpParts {
    Simd<T> fraction, first_power, second_power;

    [[gnu::always_inline]] Simd<T> value() const { return fraction * first_power * second_power; }
    /// factor exp x, rounded no more than once where it is subnormal.
    [[gnu::always_inline]] Simd<T> times(Simd<T> factor) const {
        return factor * fraction * first_power * second_power;
    }
};

/// x = n ln 2 + r with n whole and |r| <= ln(2) / 2; exp x = 2^n exp r (Cody, Waite 1980). x is between
/// `lowest` and `highest`, or not much outside.
template <Real T>
[[gnu::always_inline]] inline ExpParts<T> exp_parts(Simd<T> x) {
    using Constants = ExpConstants<T>;
    const Simd<T> n = round_scaled(x, T(1.442695040888963407359925));
    const Simd<T> r = fma(n, Simd<T>(-Constants::ln2_low), fma(n, Simd<T>(-Constants::ln2_high), x));
    const Simd<T> fraction = fma(r * r, polynomial(r, Constants::q), r) + Simd<T>(T(1));
    const Simd<T> half = round_scaled(n, T(0.5));
    return {fraction, power_of_two(half), power_of_two(n - half)};
}

/// Within 1 ulp or so, subnormal results too; exp(-infinity) = 0, overflow gives infinity, NaN stays NaN.
template <Real T>
[[gnu::always_inline]] inline Simd<T> exp(Simd<T> x) {
    using Constants = ExpConstants<T>;
    // In this order of the arguments a NaN passes through.
    x = min(Simd<T>(Constants::highest), max(Simd<T>(Constants::lowest), x));
    return exp_parts(x).value();
}

/// erfcx(z) = exp(z^2) erfc(z) = p(t) / (z + pole), t = (z - pole) / (z + pole), for 0 <= z <= largest, where
/// erfc has underflowed (the map of Shepherd, Laframboise 1981). of_square: erf(z) / z in powers of z^2, for
/// z <= 1/2.
template <Real T>
struct ErfConstants;

template <>
struct ErfConstants<float> {
    static constexpr std::array<float, 10> p{
        1.074006908f,    -0.8833944904f,   0.5902282789f, -0.3104658956f,    0.1195293883f,
        -0.02684051917f, -0.001228286431f, 0.0030810366f, -0.0004796692249f, -0.0003235047032f};
    static constexpr std::array<float, 5> of_square{1.128379166f, -0.3761260853f, 0.1128282169f,
                                                    -0.02675710049f, 0.004717798583f};
    static constexpr float pole = 3, largest = 10.5f;
};

template <>
struct ErfConstants<double> {
    static constexpr std::array<double, 23> p{
        1.09599566100049112,       -0.9765487290808820791,     0.7732087022652367834,
        -0.5408538313132249234,    0.3308515878780249691,      -0.1740109372402911785,
        0.07638151490911395838,    -0.02637005333460845435,    0.006112055657170121985,
        -0.0002809589158426755521, -0.0004550526914401151681,  0.0001768130856642486983,
        -3.635139412762583968e-6,  -0.00001886177751783548269, 4.694307038979037294e-6,
        1.426068034566910313e-6,   -8.459757810800134852e-7,   -7.793149521870427113e-8,
        1.239206467457053624e-7,   2.56456896151862803e-9,     -1.53952864922339033e-8,
        -3.647575405416994912e-10, 1.023845656608929689e-9};
    static constexpr std::array<double, 10> of_square{1.128379167095512574,     -0.3761263890318375047,
                                                      0.1128379167095486322,    -0.02686617064499728454,
                                                      0.005223977621966353469,  -0.0008548326504821468857,
                                                      0.0001205528579723717669, -0.00001492298719142202684,
                                                      1.637088576740689864e-6,  -1.461778220467924392e-7};
    static constexpr double pole = 4, largest = 27.5;
};

/// erfcx(factor x).
template <Real T>
[[gnu::always_inline]] inline Simd<T> scaled_erfc(Simd<T> x, T factor) {
    using Constants = ErfConstants<T>;
    const Simd<T> pole(Constants::pole), above = fma(x, Simd<T>(factor), pole),
                                         below = fma(x, Simd<T>(factor), -pole);
    const Simd<T> s = Simd<T>(T(1)) / above;
    return polynomial(below * s, Constants::p) * s;
}

/// exp(-scale z^2) for scale a power of two. The rounding error of z^2, which exp would magnify, is corrected
/// where the target has fma.
template <Real T>
[[gnu::always_inline]] inline Simd<T> exp_minus_square(Simd<T> z, T scale) {
    const Simd<T> square = z * z;
    const Simd<T> error = fma(z, z, -square);
    const Simd<T> value = exp(square * Simd<T>(-scale));
    return fma(value, error * Simd<T>(-scale), value);
}

template <Real T>
struct NormalDistribution {
    Simd<T> cumulative;  // Phi(x)
    Simd<T> gaussian;    // exp(-x^2 / 2)
};

/// Phi keeps its relative accuracy where it is small: it is erfc(|x| / sqrt 2) / 2 or one minus that.
template <Real T>
[[gnu::always_inline]] inline NormalDistribution<T> normal_distribution(Simd<T> x) {
    const Simd<T> zero(T(0)), one(T(1)), half(T(0.5));
    const Simd<T> size = min(Simd<T>(ErfConstants<T>::largest * T(1.41)), abs(x));
    const Simd<T> gaussian = exp_minus_square(size, T(0.5));
    const Simd<T> ratio = half * scaled_erfc(size, T(0.70710678118654752440));
    return {select<T>(x < zero, ratio * gaussian, fma(-ratio, gaussian, one)), gaussian};
}

/// Within 2 ulp or so, also near 0; erf(+-infinity) = +-1, NaN stays NaN.
template <Real T>
[[gnu::always_inline]] inline Simd<T> erf(Simd<T> x) {
    using Constants = ErfConstants<T>;
    const Simd<T> zero(T(0)), one(T(1));
    const Simd<T> z = min(Simd<T>(Constants::largest), abs(x));
    const Simd<T> inner = x * polynomial(x * x, Constants::of_square);
    const Simd<T> outer = fma(-scaled_erfc(z, T(1)), exp_minus_square(z, T(1)), one);
    return select<T>(z < Simd<T>(T(0.5)), inner, select<T>(x < zero, -outer, outer));
}

}  // namespace ring_attention::inline RING_ATTENTION_ABI::detail
RING_ATTENTION_PRECISE_END
