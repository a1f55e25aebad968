#pragma once

#include <ring_attention/layers/layer.hpp>
#include <ring_attention/layers/norm_options.hpp>
#include <ring_attention/layers/normalised_rows.hpp>

namespace ring_attention::inline RING_ATTENTION_ABI {

/// y = gamma x / sqrt(mean(x^2) + epsilon) over each row (Zhang, Sennrich 2019, 1910.07467), or with 1 +
/// gamma in place of gamma (NormKind::rms_one_plus, as Gemma has it): [tokens, Width] => [tokens, Width].
/// Either begins as a factor of 1.
template <class T, Index Width, NormOptions options = NormOptions{NormKind::rms, 1e-6f}>
struct RmsNorm {
    static_assert(options.kind == NormKind::rms || options.kind == NormKind::rms_one_plus,
                  "RmsNorm: the options are those of another norm");
    using Scalar = T;
    static constexpr Index in_width = Width, out_width = Width;
    static constexpr double epsilon = detail::as_written(options.epsilon);
    static constexpr bool one_plus = options.kind == NormKind::rms_one_plus;

    RowVector<T> gamma = RowVector<T>::Constant(Width, T(one_plus ? 0 : 1));

    static void visit(auto&& f, auto&... self) { f("gamma", self.gamma...); }

    using Cache = detail::NormalisedRows<T, Width, false>;

    Matrix<T> forward(const Matrix<T>& x, Cache* cache) const {
        return Cache::forward(x, epsilon, cache, [&](auto y) { scale(y); });
    }

    Matrix<T> backward(Matrix<T> d_y, const Cache& cache, const SeatGradients<RmsNorm>& gradients) const {
        const Matrix<T>& n = cache.values;
        gradients.for_each([&](RmsNorm& gradient, IndexRange rows) {
            detail::add_sum_of_rows(
                rows.first, rows.count, gradient.gamma, [&](Index row, Index col, Index cols) {
                    return d_y.row(row).segment(col, cols).cwiseProduct(n.row(row).segment(col, cols));
                });
        });
        return cache.backward(std::move(d_y), [&](auto& d) { scale(d); });
    }

  private:
    void scale(auto& row) const {
        if constexpr (one_plus)
            row.array() *= T(1) + gamma.array();
        else
            row = row.cwiseProduct(gamma);
    }
};

}  // namespace ring_attention::inline RING_ATTENTION_ABI
