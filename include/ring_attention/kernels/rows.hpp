#pragma once

#include <algorithm>
#include <array>
#include <cstddef>

#include <ring_attention/core/parallel.hpp>
#include <ring_attention/core/types.hpp>

namespace ring_attention::inline RING_ATTENTION_ABI::detail {

/// Calls f(row) for 0 ... rows - 1 on all threads; f writes to its row only.
void parallel_rows(Index rows, const auto& f) {
    parallel_for_in_runs(rows, 32, f);
}

template <class T>
Matrix<T> copy_of_rows(const Matrix<T>& from, Index first, Index count) {
    Matrix<T> rows(count, from.cols());
    parallel_rows(count, [&](Index i) { rows.row(i) = from.row(first + i); });
    return rows;
}

/// Adds f(row), a row of numbers, to `sums`: the finished sum over rows first ... first + count - 1, in this
/// order. f(row, first column, number of columns) gives a part of the row as an Eigen expression.
template <class T>
void add_sum_of_rows(Index first, Index count, RowVector<T>& sums, const auto& f) {
    constexpr Index cols_at_once = 64;
    parallel_for((sums.size() + cols_at_once - 1) / cols_at_once, [&](Index block) {
        const Index col = block * cols_at_once, cols = std::min(cols_at_once, sums.size() - col);
        alignas(64) std::array<T, std::size_t(cols_at_once)> numbers{};
        MapOf<Eigen::Array<T, 1, Eigen::Dynamic>, Eigen::Aligned64> sum(numbers.data(), cols);
        for (Index row = first; row < first + count; ++row) sum += f(row, col, cols).array();
        sums.segment(col, cols).array() += sum;
    });
}

}  // namespace ring_attention::inline RING_ATTENTION_ABI::detail
