#pragma once

#include <ring_attention/kernels/blocked_product.hpp>
#include <ring_attention/kernels/finite_rows.hpp>

namespace ring_attention::inline RING_ATTENTION_ABI::detail {

/// Rows that are summed with weights: as the micro-kernel reads them, those that are not finite kept apart.
template <Real T>
struct WeightedRows {
    MatrixView<const T> given;  // (K, D)
    FiniteRows<T> finite;
    PackedView<T> panels;  // of finite.rows()

    /// masked: some weight may be 0 because of the mask. memory: packed_size(K, D) numbers, used where the
    /// rows do not fill panels as they lie.
    WeightedRows(MatrixView<const T> rows, bool masked, T* memory)
        : given(rows), finite(rows, {0, masked ? 0 : rows.rows}), panels(panels_of(finite.rows(), memory)) {}

    /// Rows that lie far apart are packed too: they would fall on a few sets of the cache.
    static PackedView<T> panels_of(MatrixView<const T> rows, T* memory) {
        const bool as_they_lie = rows.row_stride == rows.cols && rows.cols % PackedView<T>::panel_cols == 0;
        return as_they_lie ? unpacked_panels<T>(rows) : pack_b<T>(rows, memory);
    }
};

/// sums (M,D) += weights (M,K) rows (K,D). Of a strip of the micro-kernel the weights lie in within(its first
/// row, its last), and are 0 wherever not seen(row, k).
template <Real T>
void add_weighted_rows(MatrixView<const T> weights, const WeightedRows<T>& rows, MatrixView<T> sums,
                       auto&& within, auto&& seen) {
    multiply_strips_within<T>(unpacked_strips<T>(weights), rows.panels, sums, true, within);
    for (const Index k : rows.finite.wild())
        for (Index i = 0; i < sums.rows; ++i)
            if (seen(i, k))
                for (Index j = 0; j < sums.cols; ++j) sums(i, j) += weights(i, k) * rows.given(k, j);
}

}  // namespace ring_attention::inline RING_ATTENTION_ABI::detail
