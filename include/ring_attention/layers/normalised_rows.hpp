#pragma once

#include <cmath>

#include <ring_attention/core/of_thread.hpp>
#include <ring_attention/kernels/reduce.hpp>
#include <ring_attention/kernels/rows.hpp>

namespace ring_attention::inline RING_ATTENTION_ABI::detail {

/// Rows divided by their deviation, sqrt(mean of squares + epsilon), where centred is true after their mean
/// was taken from them: what LayerNorm and RmsNorm share, and what their backward remembers.
template <class T, Index Width, bool centred>
struct NormalisedRows {
    Matrix<T> values;                // [tokens, Width]
    RowVector<T> inverse_deviation;  // [tokens]

    /// y = each normalised row after finish(row). Fills the cache where it is not null.
    static Matrix<T> forward(const Matrix<T>& x, double epsilon, NormalisedRows* cache, const auto& finish) {
        Matrix<T> y(x.rows(), Width);
        RowVector<T> inverse_deviation(x.rows());
        if (cache) cache->values.resize(x.rows(), Width);
        detail::parallel_rows(x.rows(), [&](Index i) {
            // In double: the errors of a norm would be the largest of a block in float.
            auto& row = of_thread<RowVector<double>, Width>(Width);
            row = x.row(i).template cast<double>();
            if constexpr (centred) row.array() -= detail::sum(row.data(), Width) / double(Width);
            const double variance = detail::dot(row.data(), row.data(), Width) / double(Width);
            const double deviation = std::sqrt(variance + epsilon);
            inverse_deviation[i] = T(1 / deviation);
            row /= deviation;
            y.row(i) = row.template cast<T>();
            if (cache) cache->values.row(i) = y.row(i);
            finish(y.row(i));
        });
        if (cache) cache->inverse_deviation = std::move(inverse_deviation);
        return y;
    }

    /// From the gradient d of the normalised rows n that of x: (d - mean(d) - n mean(d n)) / deviation, not
    /// centred without mean(d). begin(row) first makes a row of d of a row of what is given.
    Matrix<T> backward(Matrix<T> given, const auto& begin) const {
        detail::parallel_rows(given.rows(), [&](Index i) {
            auto d = given.row(i);
            begin(d);
            const T mean_dn = detail::dot(d.data(), values.row(i).data(), Width) / T(Width);
            if constexpr (centred) {
                const T mean_d = detail::sum(d.data(), Width) / T(Width);
                d = inverse_deviation[i] * (d.array() - mean_d - values.row(i).array() * mean_dn).matrix();
            } else {
                d = inverse_deviation[i] * (d.array() - values.row(i).array() * mean_dn).matrix();
            }
        });
        return given;
    }
};

}  // namespace ring_attention::inline RING_ATTENTION_ABI::detail
