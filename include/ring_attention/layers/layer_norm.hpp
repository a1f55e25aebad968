#pragma once

#include <ring_attention/layers/layer.hpp>
#include <ring_attention/layers/norm_options.hpp>
#include <ring_attention/layers/normalised_rows.hpp>

namespace ring_attention::inline RING_ATTENTION_ABI {

/// y = gamma (x - mean) / sqrt(variance + epsilon) + beta over each row, with the biased variance
/// (Ba, Kiros, Hinton 2016, 1607.06450): [tokens, Width] => [tokens, Width].
template <class T, Index Width, NormOptions options = NormOptions{}>
struct LayerNorm {
    static_assert(options.kind == NormKind::layer, "LayerNorm: the options are those of another norm");
    using Scalar = T;
    static constexpr Index in_width = Width, out_width = Width;
    static constexpr double epsilon = detail::as_written(options.epsilon);

    RowVector<T> gamma = RowVector<T>::Ones(Width);
    RowVector<T> beta = RowVector<T>::Zero(Width);

    static void visit(auto&& f, auto&... self) {
        f("gamma", self.gamma...);
        f("beta", self.beta...);
    }

    using Cache = detail::NormalisedRows<T, Width, true>;

    Matrix<T> forward(const Matrix<T>& x, Cache* cache) const {
        return Cache::forward(x, epsilon, cache, [&](auto y) { y = y.cwiseProduct(gamma) + beta; });
    }

    Matrix<T> backward(Matrix<T> d_y, const Cache& cache, const SeatGradients<LayerNorm>& gradients) const {
        const Matrix<T>& n = cache.values;
        gradients.for_each([&](LayerNorm& gradient, IndexRange rows) {
            detail::add_sum_of_rows(
                rows.first, rows.count, gradient.beta,
                [&](Index row, Index col, Index cols) { return d_y.row(row).segment(col, cols); });
            detail::add_sum_of_rows(
                rows.first, rows.count, gradient.gamma, [&](Index row, Index col, Index cols) {
                    return d_y.row(row).segment(col, cols).cwiseProduct(n.row(row).segment(col, cols));
                });
        });
        return cache.backward(std::move(d_y), [&](auto& d) { d = d.cwiseProduct(gamma); });
    }
};

}  // namespace ring_attention::inline RING_ATTENTION_ABI
