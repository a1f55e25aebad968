#pragma once

#include <ring_attention/kernels/elementwise.hpp>
#include <ring_attention/kernels/rows.hpp>
#include <ring_attention/layers/layer.hpp>

namespace ring_attention::inline RING_ATTENTION_ABI {

/// y = x Phi(x), Phi the distribution function of the standard normal, by erf (Hendrycks, Gimpel 2016,
/// 1606.08415).
template <class T, Index Width>
struct Gelu {
    using Scalar = T;
    static constexpr Index in_width = Width, out_width = Width;

    static void visit(auto&&, auto&...) {}

    struct Cache {
        Matrix<T> input;  // [tokens, Width]
    };

    Matrix<T> forward(Matrix<T> x, Cache* cache) const {
        if (cache) cache->input = x;
        detail::parallel_rows(x.rows(),
                              [&](Index i) { detail::gelu(x.row(i).data(), x.row(i).data(), Width); });
        return x;
    }

    Matrix<T> backward(Matrix<T> d_y, const Cache& cache, const SeatGradients<Gelu>&) const {
        return input_gradient(std::move(d_y), cache);
    }

    static Matrix<T> input_gradient(Matrix<T> d_y, const Cache& cache) {
        detail::parallel_rows(d_y.rows(), [&](Index i) {
            detail::gelu_backward(cache.input.row(i).data(), d_y.row(i).data(), d_y.row(i).data(), Width);
        });
        return d_y;
    }
};

}  // namespace ring_attention::inline RING_ATTENTION_ABI
