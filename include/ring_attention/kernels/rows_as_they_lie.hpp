#pragma once

#include <algorithm>
#include <cstddef>

#include <ring_attention/kernels/matrix_view.hpp>
#include <ring_attention/kernels/micro_kernel.hpp>
#include <ring_attention/kernels/product_block.hpp>
#include <ring_attention/kernels/simd.hpp>

// Products of few rows of a, for which b is read as it lies: packing it would cost more than it saves. It
// comes from memory, which is fast where whole rows are read, and few of them at a time.

RING_ATTENTION_PRECISE_BEGIN
namespace ring_attention::inline RING_ATTENTION_ABI::detail {

/// The chains of a tile begin, or go on from the sums in memory, and go there.
template <Real T>
struct ContinueTile {
    MatrixView<T> sums;  // its columns are contiguous and fill the tile
    bool begins;

    template <std::size_t rows, std::size_t vectors>
    [[gnu::always_inline]] void begin(Simd<T> (&sum)[rows][vectors]) const {
        unrolled<rows>([&](auto i) {
            unrolled<vectors>([&](auto v) {
                sum[i][v] = begins ? Simd<T>(T(0)) : Simd<T>::load(&sums(i, v * Simd<T>::width));
            });
        });
    }

    template <std::size_t rows, std::size_t vectors>
    [[gnu::always_inline]] void operator()(const Simd<T> (&sum)[rows][vectors]) const {
        unrolled<rows>([&](auto i) {
            unrolled<vectors>([&](auto v) { sum[i][v].store(&sums(i, v * Simd<T>::width)); });
        });
    }

    ContinueTile middle_rows(Index first, Index count) const {
        return {sums.middle_rows(first, count), begins};
    }
};

/// Rows of b that are wanted soon: of long ones the beginning, for the processor goes on by itself.
template <class Right>
void prefetch(MatrixView<const Right> rows) {
    constexpr Index line = 64 / Index(sizeof(Right));
    const Index count = rows.cols <= 4 * line ? rows.cols : 2 * line;
    for (Index i = 0; i < rows.rows; ++i) prefetch(&rows(i, 0), count);
}

/// sums = a b, or += where these have begun, for the columns of a tile. Meanwhile `next`, the tile of b after
/// this, is asked for, in equal parts by each strip of a.
template <int vectors, Real T, class Right>
void continue_tiles(const Strips<T>& a, MatrixView<const Right> b, MatrixView<const Right> next,
                    MatrixView<T> sums, bool begins) {
    constexpr Index strip = ProductTile<T>::rows;
    constexpr bool ask = vectors * sizeof(Simd<T>) >= 128;  // a line comes with its neighbour
    const Index share = ceil_div(next.rows, ceil_div(sums.rows, strip));
    for (Index row = 0, asked = 0; row < sums.rows; row += strip, asked += share) {
        asked = std::min(asked, next.rows);
        if (ask) prefetch(next.middle_rows(asked, std::min(share, next.rows - asked)));
        multiply_strip<vectors>(std::min(strip, sums.rows - row), a.from_row(row).data, a.row_stride,
                                a.col_stride, b.data, b.row_stride, b.rows,
                                ContinueTile<T>{sums.middle_rows(row, sums.rows - row), begins});
    }
}

/// sums (m,n) = a (m,k) b (k,n), where n fills panels and the columns of b and of the sums are contiguous:
/// chains over k as in micro_kernel.hpp, whose bits do not show where they are interrupted.
template <Real T, class Right>
void continue_product(const Strips<T>& a, MatrixView<const Right> b, MatrixView<T> sums) {
    // What a strip asks for is little, for a core waits for some dozen lines at a time.
    const Index rows_at_once = std::clamp<Index>(16 * ceil_div(sums.rows, ProductTile<T>::rows), 32, 128);
    const auto rows_from = [&](Index p) { return b.middle_rows(p, std::min(rows_at_once, b.rows - p)); };
    for (Index p = 0; p < b.rows; p += rows_at_once) {
        const Strips<T> left{a.data + p * a.col_stride, a.row_stride, a.col_stride, a.strip_stride};
        const MatrixView<const Right> some = rows_from(p), later = rows_from(p + some.rows);
        Index col = 0;
        const auto multiply = [&]<int vectors>() {
            constexpr Index cols = vectors * Simd<T>::width;
            for (; col + cols <= b.cols; col += cols) {
                const bool last = col + 2 * cols > b.cols;
                continue_tiles<vectors>(
                    left, some.middle_cols(col, cols),
                    last ? later.middle_cols(0, cols) : some.middle_cols(col + cols, cols),
                    sums.middle_cols(col, cols), p == 0);
            }
        };
        if (sums.rows <= 2) multiply.template operator()<4 * ProductTile<T>::vectors>();
        multiply.template operator()<ProductTile<T>::vectors>();
    }
}

/// c (m,n) = or += a (m,k) b (k,n) for few rows of a, one block deep; the columns of b are contiguous and
/// fill panels.
template <Real T, class Right>
void multiply_rows_as_they_lie(MatrixView<const T> a, MatrixView<const Right> b, MatrixView<T> c, bool add,
                               const auto& for_all, const TileFinish<T>& finish) {
    if (c.cols == 0) return;
    constexpr Index panel_cols = PackedView<T>::panel_cols, most = 32, fewest = 4;
    const Index panels = ceil_div(c.cols, panel_cols),
                tasks = std::max(ceil_div(panels, most), std::min(for_all.tasks_wanted(), panels / fewest)),
                cols = ceil_div(panels, tasks) * panel_cols;
    const Strips<T> strips = strips_for<T>(a, c.cols, for_all);
    for_all(ceil_div(c.cols, cols), [&](Index task) {
        const Index col = task * cols, count = std::min(cols, c.cols - col);
        const MatrixView<T> tile = c.middle_cols(col, count);
        const bool in_place = !add && c.col_stride == 1;
        T* const apart = in_place ? nullptr : workspace<T, Workspace::right>().require(c.rows * count);
        const MatrixView<T> sums = in_place ? tile : MatrixView<T>{apart, c.rows, count, count, 1};
        continue_product<T>(strips, b.middle_cols(col, count), sums);
        if (!in_place) write_tile<T>(apart, count, tile, add);
        finish(tile, 0, col);
    });
}

}  // namespace ring_attention::inline RING_ATTENTION_ABI::detail
RING_ATTENTION_PRECISE_END
