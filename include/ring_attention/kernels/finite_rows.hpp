#pragma once

#include <algorithm>
#include <vector>

#include <ring_attention/core/types.hpp>
#include <ring_attention/kernels/matrix_view.hpp>
#include <ring_attention/kernels/reduce.hpp>

namespace ring_attention::inline RING_ATTENTION_ABI::detail {

/// Rows for a product with weights of which the mask made some 0: 0 NaN is NaN, and must not come in. Rows
/// outside of `whole` that are not finite are wild; rows() has zeros in their place, which changes no bit
/// of the sums that do not see them. The columns are contiguous.
template <class T>
class FiniteRows {
  public:
    FiniteRows(MatrixView<const T> rows, const IndexRange& whole) : rows_(rows) {
        const auto look_at = [&](Index from, Index to) {
            for (Index i = from; i < to; ++i)
                if (!all_finite(&rows(i, 0), rows.cols)) wild_.push_back(i);
        };
        look_at(0, std::min(whole.first, rows.rows));
        look_at(std::max<Index>(0, whole.end()), rows.rows);
        if (wild_.empty()) return;
        tame_.resize(rows.rows, rows.cols);
        for (Index i = 0; i < rows.rows; ++i)
            for (Index j = 0; j < rows.cols; ++j) tame_(i, j) = rows(i, j);
        for (const Index i : wild_) std::fill_n(&tame_(i, 0), rows.cols, T{});
        rows_ = view(std::as_const(tame_));
    }

    FiniteRows(const FiniteRows&) = delete;
    FiniteRows& operator=(const FiniteRows&) = delete;

    MatrixView<const T> rows() const { return rows_; }
    const std::vector<Index>& wild() const { return wild_; }

  private:
    MatrixView<const T> rows_;
    std::vector<Index> wild_;
    Matrix<T> tame_;
};

}  // namespace ring_attention::inline RING_ATTENTION_ABI::detail
