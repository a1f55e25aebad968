#pragma once

#include <ring_attention/core/types.hpp>
#include <ring_attention/kernels/simd.hpp>

RING_ATTENTION_PRECISE_BEGIN
namespace ring_attention::inline RING_ATTENTION_ABI::detail {

// Functions of a Simd over n contiguous numbers. Equal inputs give equal bits, wherever they stand among the
// n: the last few go through the same vector code as the others. y may be one of the inputs.

/// y = f(x).
template <Real T>
void map_numbers(const T* x, T* y, Index n, const auto& f) {
    constexpr Index width = Simd<T>::width;
    Index i = 0;
    for (; i + width <= n; i += width) f(Simd<T>::load(x + i)).store(y + i);
    if (i < n) store_partial(f(load_partial(x + i, n - i)), y + i, n - i);
}

/// y = f(a, b).
template <Real T>
void map_numbers(const T* a, const T* b, T* y, Index n, const auto& f) {
    constexpr Index width = Simd<T>::width;
    Index i = 0;
    for (; i + width <= n; i += width) f(Simd<T>::load(a + i), Simd<T>::load(b + i)).store(y + i);
    if (i < n) store_partial(f(load_partial(a + i, n - i), load_partial(b + i, n - i)), y + i, n - i);
}

}  // namespace ring_attention::inline RING_ATTENTION_ABI::detail
RING_ATTENTION_PRECISE_END
