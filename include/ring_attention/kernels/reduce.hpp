#pragma once

#include <algorithm>
#include <limits>

#include <ring_attention/core/types.hpp>

namespace ring_attention {

// Sums over n contiguous numbers in an order that depends on n alone (not on where the numbers lie in memory).

template <class T>
T sum(const T* x, Index n) {
    T total = 0;
    for (Index i = 0; i < n; ++i) total += x[i];
    return total;
}

template <class T>
T dot(const T* x, const T* y, Index n) {
    T total = 0;
    for (Index i = 0; i < n; ++i) total += x[i] * y[i];
    return total;
}

/// -infinity for n = 0; a NaN among the numbers may or may not be returned.
template <class T>
T maximum(const T* x, Index n) {
    T largest = -std::numeric_limits<T>::infinity();
    for (Index i = 0; i < n; ++i) largest = std::max(largest, x[i]);
    return largest;
}

}  // namespace ring_attention
