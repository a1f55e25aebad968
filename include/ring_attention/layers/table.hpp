#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <numeric>

#include <ring_attention/core/memory.hpp>
#include <ring_attention/core/random.hpp>
#include <ring_attention/core/types.hpp>

// A table of which each token takes a row: what Embedding, LearnedPositions and TokenTypes share.

namespace ring_attention::inline RING_ATTENTION_ABI::detail {

inline constexpr Index no_row = -1;

/// table.row(row_of(i)) += factor times the sum of d_rows.row(i) over those i of `rows` for which this is the
/// row, from the first to the last. Those of no_row are left out.
template <class T>
void add_rows_to_table(const Matrix<T>& d_rows, IndexRange rows, T factor, Matrix<T>& table,
                       const auto& row_of) {
    List<Index> order(static_cast<std::size_t>(rows.count));
    std::iota(order.begin(), order.end(), rows.first);
    std::stable_sort(order.begin(), order.end(), [&](Index a, Index b) { return row_of(a) < row_of(b); });
    for (auto next = order.begin(); next != order.end();) {
        const Index row = row_of(*next);
        RowVector<T> sum = RowVector<T>::Zero(table.cols());
        for (; next != order.end() && row_of(*next) == row; ++next) sum += d_rows.row(*next);
        if (row != no_row) table.row(row) += factor * sum;
    }
}

/// Normal numbers.
template <class T, class Weight>
void initialise_table(Matrix<Weight>& table, double deviation, const CounterRandom& random,
                      std::uint64_t stream) {
    for (Index i = 0; i < table.size(); ++i)
        table.data()[i] = Weight(T(deviation * random.normal(stream, std::uint64_t(i))));
}

}  // namespace ring_attention::inline RING_ATTENTION_ABI::detail
