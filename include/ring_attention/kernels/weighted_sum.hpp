#pragma once

#include <cmath>
#include <vector>

#include <ring_attention/kernels/matrix_view.hpp>
#include <ring_attention/kernels/product.hpp>

namespace ring_attention {

namespace detail {

template <class T>
std::vector<Index> rows_not_finite(MatrixView<const T> rows) {
    std::vector<Index> found;
    for (Index p = 0; p < rows.rows; ++p) {
        T zero = 0;  // stays 0 unless the row holds a NaN or an infinity
        for (Index j = 0; j < rows.cols; ++j) zero += rows(p, j) * T(0);
        if (zero != T(0)) found.push_back(p);
    }
    return found;
}

}  // namespace detail

/// sums (m,n) += weights (m,k) rows (k,n), where a weight that the mask made 0 keeps its row out, even one
/// that is not finite (0 NaN is NaN). seen(i, p) tells whether the mask lets weight (i, p) through; the bits
/// of sums that see no such row do not depend on whether there is one.
template <class T, class Seen>
void add_weighted_rows(MatrixView<const T> weights, MatrixView<const T> rows, MatrixView<T> sums,
                       const Seen& seen) {
    const std::vector<Index> wild = detail::rows_not_finite(rows);
    if (wild.empty()) return multiply<T>(weights, rows, sums, Into::add);

    Matrix<T> tame(rows.rows, rows.cols);
    for (Index p = 0; p < rows.rows; ++p)
        for (Index j = 0; j < rows.cols; ++j) tame(p, j) = rows(p, j);
    for (const Index p : wild) tame.row(p).setZero();
    multiply<T>(weights, view(std::as_const(tame)), sums, Into::add);

    for (Index i = 0; i < sums.rows; ++i)
        for (const Index p : wild)
            if (seen(i, p))
                for (Index j = 0; j < sums.cols; ++j) sums(i, j) += weights(i, p) * rows(p, j);
}

}  // namespace ring_attention
