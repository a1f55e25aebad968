#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <limits>
#include <utility>

#include <ring_attention/core/types.hpp>
#include <ring_attention/kernels/simd_vector.hpp>

#if defined(__AVX__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

// What is done with SIMD vectors beside what their operators do. Instructions of one processor appear here
// alone, and only where the vector extensions have no word for them (fma, masked memory).

RING_ATTENTION_PRECISE_BEGIN
namespace ring_attention::inline RING_ATTENTION_ABI::detail {

/// Lane by lane: predicate ? a : b.
template <Real T>
[[gnu::always_inline]] inline Simd<T> select(typename Simd<T>::Predicate predicate, Simd<T> a, Simd<T> b) {
    return predicate ? a.lanes : b.lanes;
}

/// a > b ? a : b, hence b where either is NaN: what the instruction gives, which compilers do not always
/// find.
template <Real T>
[[gnu::always_inline]] inline Simd<T> max(Simd<T> a, Simd<T> b) {
    [[maybe_unused]] constexpr bool single = sizeof(T) == 4;
#if defined(__AVX512F__)
    if constexpr (single)
        return Simd<T>(_mm512_mask_max_ps(a.lanes, __mmask16(-1), a.lanes, b.lanes));
    else
        return Simd<T>(_mm512_mask_max_pd(a.lanes, __mmask8(-1), a.lanes, b.lanes));
#else
    return select<T>(a > b, a, b);
#endif
}

/// a < b ? a : b, hence b where either is NaN.
template <Real T>
[[gnu::always_inline]] inline Simd<T> min(Simd<T> a, Simd<T> b) {
    [[maybe_unused]] constexpr bool single = sizeof(T) == 4;
#if defined(__AVX512F__)
    if constexpr (single)
        return Simd<T>(_mm512_mask_min_ps(a.lanes, __mmask16(-1), a.lanes, b.lanes));
    else
        return Simd<T>(_mm512_mask_min_pd(a.lanes, __mmask8(-1), a.lanes, b.lanes));
#else
    return select<T>(a < b, a, b);
#endif
}

/// Whether a < b in every lane.
[[gnu::always_inline]] inline bool all_less(Simd<float> a, Simd<float> b) {
#if defined(__AVX512F__)
    return _mm512_cmp_ps_mask(a.lanes, b.lanes, _CMP_LT_OQ) == __mmask16(-1);
#elif defined(__AVX__)
    return _mm256_movemask_ps(_mm256_cmp_ps(a.lanes, b.lanes, _CMP_LT_OQ)) == 255;
#else
    const auto less = a < b;
    auto all = less[0];
    for (int i = 1; i < Simd<float>::width; ++i) all &= less[i];
    return all != 0;
#endif
}

template <Real T>
[[gnu::always_inline]] inline Simd<T> abs(Simd<T> x) {
    using Bits = typename Simd<T>::Bits;
    return from_bits<T>(to_bits(x) & std::numeric_limits<Bits>::max());
}

/// a b + c, rounded once where the target has the instruction. It is spelt out: whether the compiler
/// contracts an expression may differ between two places, and with it the bits.
[[gnu::always_inline]] inline Simd<float> fma(Simd<float> a, Simd<float> b, Simd<float> c) {
#if defined(__AVX512F__)
    return Simd<float>(_mm512_fmadd_ps(a.lanes, b.lanes, c.lanes));
#elif defined(__FMA__)
    return Simd<float>(_mm256_fmadd_ps(a.lanes, b.lanes, c.lanes));
#elif defined(__aarch64__)
    return Simd<float>(vfmaq_f32(c.lanes, a.lanes, b.lanes));
#else
    return a * b + c;
#endif
}

[[gnu::always_inline]] inline Simd<double> fma(Simd<double> a, Simd<double> b, Simd<double> c) {
#if defined(__AVX512F__)
    return Simd<double>(_mm512_fmadd_pd(a.lanes, b.lanes, c.lanes));
#elif defined(__FMA__)
    return Simd<double>(_mm256_fmadd_pd(a.lanes, b.lanes, c.lanes));
#elif defined(__aarch64__)
    return Simd<double>(vfmaq_f64(c.lanes, a.lanes, b.lanes));
#else
    return a * b + c;
#endif
}

[[gnu::always_inline]] inline Simd<float> sqrt(Simd<float> x) {
#if defined(__AVX512F__)
    return Simd<float>(_mm512_sqrt_ps(x.lanes));
#elif defined(__AVX__)
    return Simd<float>(_mm256_sqrt_ps(x.lanes));
#elif defined(__aarch64__)
    return Simd<float>(vsqrtq_f32(x.lanes));
#else
    for (int i = 0; i < Simd<float>::width; ++i) x.lanes[i] = std::sqrt(x.lanes[i]);
    return x;
#endif
}

[[gnu::always_inline]] inline Simd<double> sqrt(Simd<double> x) {
#if defined(__AVX512F__)
    return Simd<double>(_mm512_sqrt_pd(x.lanes));
#elif defined(__AVX__)
    return Simd<double>(_mm256_sqrt_pd(x.lanes));
#elif defined(__aarch64__)
    return Simd<double>(vsqrtq_f64(x.lanes));
#else
    for (int i = 0; i < Simd<double>::width; ++i) x.lanes[i] = std::sqrt(x.lanes[i]);
    return x;
#endif
}

#if defined(__AVX512DQ__)
/// x minus the nearest whole number.
[[gnu::always_inline]] inline Simd<float> fraction(Simd<float> x) {
    return Simd<float>(_mm512_reduce_ps(x.lanes, 0));
}
[[gnu::always_inline]] inline Simd<double> fraction(Simd<double> x) {
    return Simd<double>(_mm512_reduce_pd(x.lanes, 0));
}

/// x minus the 32nd at or below it.
[[gnu::always_inline]] inline Simd<float> fraction_of_32nd(Simd<float> x) {
    return Simd<float>(_mm512_reduce_ps(x.lanes, 5 << 4 | _MM_FROUND_TO_NEG_INF));
}

// Without optimisation the intrinsic is a macro, whose mask is signed.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wsign-conversion"
/// table[i] where x is at or above a whole number and i 32nds, and below the next 32nd; |x| < 2^17.
[[gnu::always_inline]] inline Simd<float> lookup_32nd(const std::array<float, 32>& table, Simd<float> x) {
    // Adding it moves the 32nds' place to the last bit.
    const Simd<float> round(393216.0f), low = Simd<float>::load(&table[0]),
                                        high = Simd<float>::load(&table[16]);
    const __m512 rounded = _mm512_maskz_add_round_ps(__mmask16(-1), x.lanes, round.lanes,
                                                     _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);
    return Simd<float>(_mm512_permutex2var_ps(low.lanes, _mm512_castps_si512(rounded), high.lanes));
}
#pragma GCC diagnostic pop

/// a 2^floor(n); 0 where that is subnormal and a FlushToZero lives.
[[gnu::always_inline]] inline Simd<float> scale_flushed(Simd<float> a, Simd<float> n) {
    return Simd<float>(_mm512_maskz_scalef_ps(__mmask16(-1), a.lanes, n.lanes));
}
[[gnu::always_inline]] inline Simd<double> scale_flushed(Simd<double> a, Simd<double> n) {
    return Simd<double>(_mm512_maskz_scalef_pd(__mmask8(-1), a.lanes, n.lanes));
}

/// a 2^floor(n); 0 where x < lowest.
[[gnu::always_inline]] inline Simd<float> scale_normal(Simd<float> a, Simd<float> n, Simd<float> x,
                                                       float lowest) {
    return Simd<float>(_mm512_maskz_scalef_ps(
        _mm512_cmp_ps_mask(x.lanes, Simd<float>(lowest).lanes, _CMP_NLT_UQ), a.lanes, n.lanes));
}
[[gnu::always_inline]] inline Simd<double> scale_normal(Simd<double> a, Simd<double> n, Simd<double> x,
                                                        double lowest) {
    return Simd<double>(_mm512_maskz_scalef_pd(
        _mm512_cmp_pd_mask(x.lanes, Simd<double>(lowest).lanes, _CMP_NLT_UQ), a.lanes, n.lanes));
}
#endif

/// All bits set in the first n lanes.
template <Real T>
typename Simd<T>::Predicate first_lanes(Index n) {
    using Bits = typename Simd<T>::Bits;
    return [n]<int... l>(std::integer_sequence<int, l...>) {
        return typename Simd<T>::Predicate{Bits(l)...} < Bits(n);
    }
    (std::make_integer_sequence<int, Simd<T>::width>{});
}

/// The first n numbers, 0 <= n <= width, and `rest` in the other lanes. Reads nothing past from[n - 1].
template <Real T>
Simd<T> load_partial(const T* from, Index n, T rest = 0) {
    [[maybe_unused]] constexpr bool single = sizeof(T) == 4;
#if defined(__AVX512F__)
    if constexpr (single)
        return Simd<T>(_mm512_mask_loadu_ps(Simd<T>(rest).lanes, __mmask16((1u << n) - 1), from));
    else
        return Simd<T>(_mm512_mask_loadu_pd(Simd<T>(rest).lanes, __mmask8((1u << n) - 1), from));
#elif defined(__AVX__)
    const auto first = first_lanes<T>(n);
    if constexpr (single)
        return select<T>(first, Simd<T>(_mm256_maskload_ps(from, __m256i(first))), Simd<T>(rest));
    else
        return select<T>(first, Simd<T>(_mm256_maskload_pd(from, __m256i(first))), Simd<T>(rest));
#else
    std::array<T, std::size_t(Simd<T>::width)> numbers;
    numbers.fill(rest);
    std::copy_n(from, n, numbers.data());
    return Simd<T>::load(numbers.data());
#endif
}

/// Writes the first n lanes and nothing past to[n - 1].
template <Real T>
void store_partial(Simd<T> x, T* to, Index n) {
    [[maybe_unused]] constexpr bool single = sizeof(T) == 4;
#if defined(__AVX512F__)
    if constexpr (single)
        _mm512_mask_storeu_ps(to, __mmask16((1u << n) - 1), x.lanes);
    else
        _mm512_mask_storeu_pd(to, __mmask8((1u << n) - 1), x.lanes);
#elif defined(__AVX__)
    if constexpr (single)
        _mm256_maskstore_ps(to, __m256i(first_lanes<T>(n)), x.lanes);
    else
        _mm256_maskstore_pd(to, __m256i(first_lanes<T>(n)), x.lanes);
#else
    std::array<T, std::size_t(Simd<T>::width)> numbers;
    x.store(numbers.data());
    std::copy_n(numbers.data(), n, to);
#endif
}

/// Lane l of the result is lane l + distance of x, cyclically.
template <int distance, Real T>
Simd<T> rotate(Simd<T> x) {
    return [&]<int... l>(std::integer_sequence<int, l...>) {
        return Simd<T>(__builtin_shufflevector(x.lanes, x.lanes, (l + distance) % Simd<T>::width...));
    }
    (std::make_integer_sequence<int, Simd<T>::width>{});
}

/// Joins lanes half the width apart, then a quarter, ... : the order of a horizontal sum.
template <int distance, Real T>
T fold(Simd<T> x, auto&& join) {
    if constexpr (distance == 0)
        return x.lanes[0];
    else
        return fold<distance / 2>(join(x, rotate<distance>(x)), join);
}

/// The sum of the lanes, always in the same order.
template <Real T>
T horizontal_sum(Simd<T> x) {
    return fold<Simd<T>::width / 2>(x, [](Simd<T> a, Simd<T> b) { return a + b; });
}

template <Real T>
T horizontal_max(Simd<T> x) {
    return fold<Simd<T>::width / 2>(x, [](Simd<T> a, Simd<T> b) { return max(a, b); });
}

}  // namespace ring_attention::inline RING_ATTENTION_ABI::detail
RING_ATTENTION_PRECISE_END
