#pragma once

#include <limits>

#include <ring_attention/core/types.hpp>
#include <ring_attention/kernels/simd.hpp>

RING_ATTENTION_PRECISE_BEGIN
namespace ring_attention::inline RING_ATTENTION_ABI::detail {

// Sums over n contiguous numbers in an order that depends on n alone (not on where the numbers lie in
// memory).

/// Runs over n numbers a vector at a time. absorb(total, i) returns total with the numbers i, ..., i + width
/// - 1 in it, absorb_partial(total, i, count) with the last `count`; join(total, total). Four totals hide the
/// latency of an add.
template <Real T>
Simd<T> accumulate(Index n, Simd<T> neutral, auto&& absorb, auto&& absorb_partial, auto&& join) {
    constexpr Index width = Simd<T>::width;
    constexpr int totals = 4;
    Simd<T> total[totals] = {neutral, neutral, neutral, neutral};
    Index i = 0;
    for (; i + totals * width <= n; i += totals * width)
        unrolled<totals>([&](auto t) { total[t] = absorb(total[t], i + t * width); });
    for (; i + width <= n; i += width) total[0] = absorb(total[0], i);
    if (i < n) total[1] = absorb_partial(total[1], i, n - i);
    return join(join(total[0], total[1]), join(total[2], total[3]));
}

inline constexpr auto plus = [](auto a, auto b) { return a + b; };

template <Real T>
T sum(const T* x, Index n) {
    return horizontal_sum(accumulate<T>(
        n, Simd<T>(T(0)), [x](Simd<T> total, Index i) { return total + Simd<T>::load(x + i); },
        [x](Simd<T> total, Index i, Index count) { return total + load_partial(x + i, count); }, plus));
}

template <Real T>
T dot(const T* x, const T* y, Index n) {
    return horizontal_sum(accumulate<T>(
        n, Simd<T>(T(0)),
        [x, y](Simd<T> total, Index i) { return fma(Simd<T>::load(x + i), Simd<T>::load(y + i), total); },
        [x, y](Simd<T> total, Index i, Index count) {
            return fma(load_partial(x + i, count), load_partial(y + i, count), total);
        },
        plus));
}

/// Neither a NaN nor an infinity is among the numbers. (No fma: clang++ takes it for the sum alone where it
/// was told that there are no NaNs.)
template <Real T>
bool all_finite(const T* x, Index n) {
    const Simd<T> zero(T(0));
    const T sum = horizontal_sum(accumulate<T>(
        n, zero, [&](Simd<T> total, Index i) { return total + Simd<T>::load(x + i) * zero; },
        [&](Simd<T> total, Index i, Index count) { return total + load_partial(x + i, count) * zero; },
        plus));
    return sum == T(0);
}

/// -infinity for n = 0; a NaN among the numbers may or may not be returned.
template <Real T>
T maximum(const T* x, Index n) {
    constexpr T lowest = -std::numeric_limits<T>::infinity();
    return horizontal_max(accumulate<T>(
        n, Simd<T>(lowest), [x](Simd<T> total, Index i) { return max(total, Simd<T>::load(x + i)); },
        [x](Simd<T> total, Index i, Index count) { return max(total, load_partial(x + i, count, lowest)); },
        [](Simd<T> a, Simd<T> b) { return max(a, b); }));
}

}  // namespace ring_attention::inline RING_ATTENTION_ABI::detail
RING_ATTENTION_PRECISE_END
