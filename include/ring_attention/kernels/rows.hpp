#pragma once

#include <ring_attention/core/parallel.hpp>
#include <ring_attention/core/types.hpp>

namespace ring_attention {

/// Calls f(row) for 0 ... rows - 1 on all threads; f writes to its row only.
void parallel_rows(Index rows, const auto& f) {
    parallel_for_in_runs(rows, 32, f);
}

/// The sum of all rows, from the first to the last.
template <class T>
RowVector<T> sum_of_rows(const Matrix<T>& matrix) {
    RowVector<T> sum = RowVector<T>::Zero(matrix.cols());
    for (Index row = 0; row < matrix.rows(); ++row) sum += matrix.row(row);
    return sum;
}

}  // namespace ring_attention
