#pragma once

#include <algorithm>
#include <cstddef>

#include <ring_attention/kernels/matrix_view.hpp>
#include <ring_attention/kernels/micro_kernel.hpp>
#include <ring_attention/kernels/simd.hpp>

// Products of few rows of a, for which b is read as it lies. They wait for b to come from memory, which is
// fast where whole rows are read, and few of them at a time.

RING_ATTENTION_PRECISE_BEGIN
namespace ring_attention::inline RING_ATTENTION_ABI::detail {

/// The chains of a tile go on from the sums in memory, to which they return.
template <Real T>
struct ContinueTile {
    MatrixView<T> sums;  // its columns are contiguous and fill the tile

    template <std::size_t rows, std::size_t vectors>
    [[gnu::always_inline]] void begin(Simd<T> (&sum)[rows][vectors]) const {
        unrolled<rows>([&](auto i) {
            unrolled<vectors>([&](auto v) { sum[i][v] = Simd<T>::load(&sums(i, v * Simd<T>::width)); });
        });
    }

    template <std::size_t rows, std::size_t vectors>
    [[gnu::always_inline]] void operator()(const Simd<T> (&sum)[rows][vectors]) const {
        unrolled<rows>([&](auto i) {
            unrolled<vectors>([&](auto v) { sum[i][v].store(&sums(i, v * Simd<T>::width)); });
        });
    }

    ContinueTile middle_rows(Index first, Index count) const { return {sums.middle_rows(first, count)}; }
};

/// sums (m,n) += a (m,k) b (k,n), where n fills panels and the columns of b and of the sums are contiguous:
/// chains over k as in micro_kernel.hpp, whose bits do not show where they are interrupted.
template <Real T, class Right>
void continue_product(MatrixView<const T> a, MatrixView<const Right> b, MatrixView<T> sums) {
    constexpr Index rows_at_once = 32, tile_rows = ProductTile<T>::rows, width = Simd<T>::width;
    for (Index p = 0; p < b.rows; p += rows_at_once) {
        const MatrixView<const Right> some = b.middle_rows(p, std::min(rows_at_once, b.rows - p));
        Index col = 0;
        const auto multiply = [&]<int vectors>() {
            for (; col + vectors * width <= b.cols; col += vectors * width)
                for (Index row = 0; row < a.rows; row += tile_rows)
                    multiply_strip<vectors>(
                        std::min(tile_rows, a.rows - row), &a(row, p), a.row_stride, a.col_stride,
                        some.data + col, some.row_stride, some.rows,
                        ContinueTile<T>{
                            sums.middle_rows(row, a.rows - row).middle_cols(col, vectors * width)});
        };
        if (a.rows <= 2) multiply.template operator()<4 * ProductTile<T>::vectors>();
        multiply.template operator()<ProductTile<T>::vectors>();
    }
}

}  // namespace ring_attention::inline RING_ATTENTION_ABI::detail
RING_ATTENTION_PRECISE_END
