#pragma once

#include <limits>

#include <ring_attention/core/types.hpp>
#include <ring_attention/kernels/map_numbers.hpp>
#include <ring_attention/kernels/reduce.hpp>
#include <ring_attention/kernels/simd.hpp>
#include <ring_attention/kernels/vector_math.hpp>

RING_ATTENTION_PRECISE_BEGIN
namespace ring_attention::inline RING_ATTENTION_ABI::detail {

// Functions over n contiguous numbers (map_numbers.hpp).

/// y = exp(x - shift); exp(-infinity) is exactly 0. y may be x. Returns the sum of y, in an order that
/// depends on n alone.
template <Real T>
T exp_shifted(const T* x, T shift, T* y, Index n) {
    const auto whole = [=](Simd<T> total, Index i) {
        const Simd<T> value = exp(Simd<T>::load(x + i) - Simd<T>(shift));
        value.store(y + i);
        return total + value;
    };
    const auto partial = [=](Simd<T> total, Index i, Index count) {
        const T nothing = -std::numeric_limits<T>::infinity();
        const Simd<T> value = exp(load_partial(x + i, count, nothing) - Simd<T>(shift));
        store_partial(value, y + i, count);
        return total + value;
    };
    return horizontal_sum(accumulate<T>(n, Simd<T>(T(0)), whole, partial, plus));
}

/// y += x.
template <Real T>
void add(const T* x, T* y, Index n) {
    map_numbers(y, x, y, n, [](Simd<T> a, Simd<T> b) { return a + b; });
}

/// y *= x.
template <Real T>
void multiply_by(const T* x, T* y, Index n) {
    map_numbers(y, x, y, n, [](Simd<T> a, Simd<T> b) { return a * b; });
}

/// GELU in its exact form, y = x Phi(x) with Phi(x) = (1 + erf(x / sqrt 2)) / 2 (Hendrycks, Gimpel 2016,
/// 1606.08415). y may be x.
template <Real T>
void gelu(const T* x, T* y, Index n) {
    map_numbers(x, y, n, [](Simd<T> a) { return a * normal_distribution(a).cumulative; });
}

/// dx = dy (Phi(x) + x phi(x)), phi the density of the standard normal. dx may be dy.
template <Real T>
void gelu_backward(const T* x, const T* dy, T* dx, Index n) {
    map_numbers(x, dy, dx, n, [](Simd<T> a, Simd<T> da) {
        const auto normal = normal_distribution(a);
        return da * fma(a * Simd<T>(T(0.39894228040143267794)), normal.gaussian, normal.cumulative);
    });
}

}  // namespace ring_attention::inline RING_ATTENTION_ABI::detail
RING_ATTENTION_PRECISE_END
