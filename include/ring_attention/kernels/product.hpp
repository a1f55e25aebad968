#pragma once

#include <ring_attention/core/parallel.hpp>
#include <ring_attention/kernels/matrix_view.hpp>

namespace ring_attention {

enum class Into { overwrite, add };

/// c (m,n) = or += a (m,k) b (k,n), any strides. The order of summation depends on k alone.
template <class T>
void multiply(MatrixView<const T> a, MatrixView<const T> b, MatrixView<T> c, Into into = Into::overwrite) {
    for (Index i = 0; i < c.rows; ++i)
        for (Index j = 0; j < c.cols; ++j) {
            T sum = 0;
            for (Index p = 0; p < a.cols; ++p) sum += a(i, p) * b(p, j);
            c(i, j) = into == Into::add ? c(i, j) + sum : sum;
        }
}

/// The same on all threads, in tiles of c whose shape depends on c's alone.
template <class T>
void parallel_multiply(MatrixView<const T> a, MatrixView<const T> b, MatrixView<T> c, Into into = Into::overwrite) {
    constexpr Index tile = 64;
    parallel_for((c.rows + tile - 1) / tile, [&](Index i) {
        const Index first = i * tile, count = std::min(tile, c.rows - first);
        multiply<T>(a.middle_rows(first, count), b, c.middle_rows(first, count), into);
    });
}

}  // namespace ring_attention
