#pragma once

#include <cmath>

#include <ring_attention/core/of_thread.hpp>
#include <ring_attention/kernels/reduce.hpp>
#include <ring_attention/kernels/rows.hpp>
#include <ring_attention/layers/layer.hpp>

namespace ring_attention::inline RING_ATTENTION_ABI {

/// y = gamma (x - mean) / sqrt(variance + epsilon) + beta over each row, with the biased variance
/// (Ba, Kiros, Hinton 2016, 1607.06450).
template <class T, Index Width>
struct LayerNorm {
    using Scalar = T;
    static constexpr Index in_width = Width, out_width = Width;
    static constexpr double epsilon = 1e-5;

    RowVector<T> gamma = RowVector<T>::Ones(Width);
    RowVector<T> beta = RowVector<T>::Zero(Width);

    static void visit(auto&& f, auto&... self) {
        f("gamma", self.gamma...);
        f("beta", self.beta...);
    }

    struct Cache {
        Matrix<T> normalised;            // [tokens, Width] (x - mean) / deviation
        RowVector<T> inverse_deviation;  // [tokens]
    };

    Matrix<T> forward(const Matrix<T>& x, Cache* cache) const {
        Matrix<T> y(x.rows(), Width);
        RowVector<T> inverse_deviation(x.rows());
        if (cache) cache->normalised.resize(x.rows(), Width);
        detail::parallel_rows(x.rows(), [&](Index i) {
            // In double: the errors of a norm would be the largest of a block in float.
            auto& row = detail::of_thread<RowVector<double>, Width>(Width);
            row = x.row(i).template cast<double>();
            row.array() -= detail::sum(row.data(), Width) / double(Width);
            const double variance = detail::dot(row.data(), row.data(), Width) / double(Width);
            const double deviation = std::sqrt(variance + epsilon);
            inverse_deviation[i] = T(1 / deviation);
            row /= deviation;
            y.row(i) = row.template cast<T>();
            if (cache) cache->normalised.row(i) = y.row(i);
            y.row(i) = y.row(i).cwiseProduct(gamma) + beta;
        });
        if (cache) cache->inverse_deviation = std::move(inverse_deviation);
        return y;
    }

    /// With n = normalised and d_n = d_y gamma: d_x = (d_n - mean(d_n) - n mean(d_n n)) / deviation.
    Matrix<T> backward(Matrix<T> d_y, const Cache& cache, const SeatGradients<LayerNorm>& gradients) const {
        const Matrix<T>& n = cache.normalised;
        gradients.for_each([&](LayerNorm& gradient, IndexRange rows) {
            detail::add_sum_of_rows(
                rows.first, rows.count, gradient.beta,
                [&](Index row, Index col, Index cols) { return d_y.row(row).segment(col, cols); });
            detail::add_sum_of_rows(
                rows.first, rows.count, gradient.gamma, [&](Index row, Index col, Index cols) {
                    return d_y.row(row).segment(col, cols).cwiseProduct(n.row(row).segment(col, cols));
                });
        });
        detail::parallel_rows(d_y.rows(), [&](Index i) {
            auto d = d_y.row(i);
            d = d.cwiseProduct(gamma);
            const T mean_d = detail::sum(d.data(), Width) / T(Width);
            const T mean_dn = detail::dot(d.data(), n.row(i).data(), Width) / T(Width);
            d = cache.inverse_deviation[i] * (d.array() - mean_d - n.row(i).array() * mean_dn).matrix();
        });
        return d_y;
    }
};

}  // namespace ring_attention::inline RING_ATTENTION_ABI
