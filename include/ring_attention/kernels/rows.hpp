#pragma once

#include <ring_attention/core/parallel.hpp>
#include <ring_attention/core/types.hpp>

namespace ring_attention {

/// Calls f(row) for 0 ... rows - 1 on all threads; f writes to its row only.
void parallel_rows(Index rows, const auto& f) {
    constexpr Index rows_a_task = 32;
    parallel_for((rows + rows_a_task - 1) / rows_a_task, [&](Index task) {
        const Index end = std::min(rows, (task + 1) * rows_a_task);
        for (Index row = task * rows_a_task; row < end; ++row) f(row);
    });
}

/// The sum of all rows, from the first to the last.
template <class T>
RowVector<T> sum_of_rows(const Matrix<T>& matrix) {
    RowVector<T> sum = RowVector<T>::Zero(matrix.cols());
    for (Index row = 0; row < matrix.rows(); ++row) sum += matrix.row(row);
    return sum;
}

}  // namespace ring_attention
