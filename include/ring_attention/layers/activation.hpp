#pragma once

#include <ring_attention/kernels/activation.hpp>
#include <ring_attention/kernels/elementwise.hpp>
#include <ring_attention/kernels/rows.hpp>
#include <ring_attention/layers/activation_kind.hpp>
#include <ring_attention/layers/layer.hpp>

namespace ring_attention::inline RING_ATTENTION_ABI {

namespace detail {

/// y = f(x) for n contiguous numbers; y may be x.
template <ActivationKind kind, class T>
void activate(const T* x, T* y, Index n) {
    if constexpr (kind == ActivationKind::gelu)
        detail::gelu(x, y, n);
    else if constexpr (kind == ActivationKind::gelu_tanh)
        gelu_tanh(x, y, n);
    else if constexpr (kind == ActivationKind::silu)
        silu(x, y, n);
    else
        relu(x, y, n);
}

/// dx = dy f'(x); dx may be dy.
template <ActivationKind kind, class T>
void activate_backward(const T* x, const T* dy, T* dx, Index n) {
    if constexpr (kind == ActivationKind::gelu)
        detail::gelu_backward(x, dy, dx, n);
    else if constexpr (kind == ActivationKind::gelu_tanh)
        gelu_tanh_backward(x, dy, dx, n);
    else if constexpr (kind == ActivationKind::silu)
        silu_backward(x, dy, dx, n);
    else
        relu_backward(x, dy, dx, n);
}

}  // namespace detail

/// y = f(x), number by number, f as ActivationKind says: [tokens, Width] => [tokens, Width].
template <class T, Index Width, ActivationKind kind>
struct Activation {
    using Scalar = T;
    static constexpr Index in_width = Width, out_width = Width;

    static void visit(auto&&, auto&...) {}

    struct Cache {
        Matrix<T> input;  // [tokens, Width]
    };

    Matrix<T> forward(Matrix<T> x, Cache* cache) const {
        if (cache) cache->input = x;
        detail::parallel_rows(
            x.rows(), [&](Index i) { detail::activate<kind>(x.row(i).data(), x.row(i).data(), Width); });
        return x;
    }

    Matrix<T> backward(Matrix<T> d_y, const Cache& cache, const SeatGradients<Activation>&) const {
        return input_gradient(std::move(d_y), cache);
    }

    static Matrix<T> input_gradient(Matrix<T> d_y, const Cache& cache) {
        detail::parallel_rows(d_y.rows(), [&](Index i) {
            detail::activate_backward<kind>(cache.input.row(i).data(), d_y.row(i).data(), d_y.row(i).data(),
                                            Width);
        });
        return d_y;
    }
};

}  // namespace ring_attention::inline RING_ATTENTION_ABI
