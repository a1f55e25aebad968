#pragma once

#include <cmath>

#include <ring_attention/core/types.hpp>

namespace ring_attention {

// Functions over n contiguous numbers. Equal inputs give equal bits, wherever they stand among the n.

/// y = exp(x - shift); exp(-infinity) is exactly 0. y may be x. Returns the sum of y, in an order that depends on n alone.
template <class T>
T exp_shifted(const T* x, T shift, T* y, Index n) {
    T total = 0;
    for (Index i = 0; i < n; ++i) total += y[i] = std::exp(x[i] - shift);
    return total;
}

/// GELU in its exact form, y = x Phi(x) with Phi(x) = (1 + erf(x / sqrt 2)) / 2 (Hendrycks, Gimpel 2016, 1606.08415).
template <class T>
void gelu(const T* x, T* y, Index n) {
    for (Index i = 0; i < n; ++i) y[i] = x[i] * T(0.5) * (T(1) + std::erf(x[i] * T(0.70710678118654752440)));
}

/// dx = dy (Phi(x) + x phi(x)), phi the density of the standard normal. dx may be dy.
template <class T>
void gelu_backward(const T* x, const T* dy, T* dx, Index n) {
    for (Index i = 0; i < n; ++i) {
        const T cumulative = T(0.5) * (T(1) + std::erf(x[i] * T(0.70710678118654752440)));
        const T density = T(0.39894228040143267794) * std::exp(T(-0.5) * x[i] * x[i]);
        dx[i] = dy[i] * (cumulative + x[i] * density);
    }
}

}  // namespace ring_attention
