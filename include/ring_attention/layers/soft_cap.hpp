#pragma once

#include <ring_attention/kernels/activation.hpp>
#include <ring_attention/kernels/rows.hpp>
#include <ring_attention/layers/layer.hpp>

namespace ring_attention::inline RING_ATTENTION_ABI {

struct SoftCapOptions {
    float cap = 1;
};

/// y = cap tanh(x / cap), number by number: logits that stay below the cap (Gemma 2; Bello et al. 2016,
/// 1611.09940): [tokens, Width] => [tokens, Width].
template <class T, Index Width, SoftCapOptions options>
struct SoftCap {
    static_assert(options.cap > 0, "SoftCap: cap must be positive");
    using Scalar = T;
    static constexpr Index in_width = Width, out_width = Width;
    static constexpr T cap = T(options.cap);

    static void visit(auto&&, auto&...) {}

    struct Cache {
        Matrix<T> input;  // [tokens, Width]
    };

    Matrix<T> forward(Matrix<T> x, Cache* cache) const {
        if (cache) cache->input = x;
        detail::parallel_rows(
            x.rows(), [&](Index i) { detail::soft_cap(x.row(i).data(), cap, x.row(i).data(), Width); });
        return x;
    }

    Matrix<T> backward(Matrix<T> d, const Cache& cache, const SeatGradients<SoftCap>&) const {
        detail::parallel_rows(d.rows(), [&](Index i) {
            detail::soft_cap_backward(cache.input.row(i).data(), cap, d.row(i).data(), d.row(i).data(),
                                      Width);
        });
        return d;
    }
};

}  // namespace ring_attention::inline RING_ATTENTION_ABI
