#pragma once

#include <algorithm>
#include <array>
#include <cstddef>

#include <ring_attention/kernels/matrix_view.hpp>
#include <ring_attention/kernels/packing.hpp>
#include <ring_attention/kernels/simd.hpp>

// c (m,n) = or += a (m,k) b (k,n), k short. Every element of c is one chain of fma over k, then, where it is
// added, one addition to c: its bits are the same in a tile of any shape.

namespace ring_attention::detail {

/// A tile of c that is cut off by the edge, or whose columns are not contiguous, goes through memory.
template <Real T>
void write_tile(const T* tile, MatrixView<T> c, bool add) {
    constexpr Index stride = ProductTile<T>::cols;
    for (Index i = 0; i < c.rows; ++i)
        for (Index j = 0; j < c.cols; ++j)
            c(i, j) = add ? c(i, j) + tile[i * stride + j] : tile[i * stride + j];
}

/// c = or += the sums in registers.
template <Real T, int rows, int vectors>
[[gnu::always_inline]] inline void store_tile(const Simd<T> (&sum)[rows][vectors], MatrixView<T> c,
                                              bool add) {
    constexpr int width = Simd<T>::width;
    if (c.cols < vectors * width || c.col_stride != 1) {
        constexpr int stride = ProductTile<T>::cols;
        alignas(64) T tile[rows * stride];
        unrolled<rows>([&](auto i) {
            unrolled<vectors>([&](auto v) { sum[i][v].store(tile + i * stride + v * width); });
        });
        write_tile<T>(tile, c, add);
    } else {
        unrolled<rows>([&](auto i) {
            unrolled<vectors>([&](auto v) {
                T* const to = c.data + i * c.row_stride + v * width;
                (add ? Simd<T>::load(to) + sum[i][v] : sum[i][v]).store(to);
            });
        });
    }
}

/// c (rows, at most vectors * width) = or += a b. Column p of a begins at a + p * a_col, its rows are a_row
/// apart; row p of b begins at b + p * b_row.
template <Real T, int rows, int vectors>
void multiply_tile(Index k, const T* a, Index a_row, Index a_col, const T* b, Index b_row, MatrixView<T> c,
                   bool add) {
    constexpr int width = Simd<T>::width;
    Simd<T> sum[rows][vectors];
    unrolled<rows>([&](auto i) { unrolled<vectors>([&](auto v) { sum[i][v] = Simd<T>(T(0)); }); });
    // Three rows share a pointer: one each, or one with an offset for every row, would not fit the integer
    // registers.
    constexpr int groups = (rows + 2) / 3;
    const T* group[groups];
    unrolled<groups>([&](auto g) { group[g] = a + 3 * g * a_row; });
    const auto step = [&]() __attribute__((always_inline)) {
        Simd<T> row[vectors];
        unrolled<vectors>([&](auto v) { row[v] = Simd<T>::load(b + v * width); });
        unrolled<rows>([&](auto i) {
            const Simd<T> factor(group[i / 3][i % 3 * a_row]);
            unrolled<vectors>([&](auto v) { sum[i][v] = fma(factor, row[v], sum[i][v]); });
        });
        unrolled<groups>([&](auto g) { group[g] += a_col; });
        b += b_row;
    };
    // The tile of c is on its way while the sum is made.
    const T* next = c.data;
    Index p = 0;
    for (; p < std::min<Index>(rows, k); ++p, next += c.row_stride) {
        for (int v = 0; v < vectors; ++v) __builtin_prefetch(next + v * width, 1);
        __builtin_prefetch(next + vectors * width - 1, 1);
        step();
    }
    for (; p < k; ++p) step();
    store_tile<T>(sum, c, add);
}

/// The left factor as the micro-kernel reads it: element (i,p) of strip s at data + s * strip_stride + i *
/// row_stride + p * col_stride, a strip being ProductTile::rows rows.
template <Real T>
struct Strips {
    const T* data;
    Index row_stride, col_stride, strip_stride;

    /// `row` is a multiple of ProductTile::rows.
    Strips from_row(Index row) const {
        return {data + row / ProductTile<T>::rows * strip_stride, row_stride, col_stride, strip_stride};
    }
};

/// One strip of c, `rows` high, by one panel.
template <Real T, int vectors>
void multiply_strip(const T* a, Index a_row, Index a_col, const T* b, Index b_row, Index k, MatrixView<T> c,
                    bool add) {
    const auto step = [&]<int rows>() {
        multiply_tile<T, rows, vectors>(k, a, a_row, a_col, b, b_row, c.middle_rows(0, rows), add);
        a += rows * a_row;
        c = c.middle_rows(rows, c.rows - rows);
    };
    constexpr int tile = ProductTile<T>::rows;
    if (c.rows >= tile) return step.template operator()<tile>();
    if constexpr (tile > 8)
        if (c.rows >= 8) step.template operator()<8>();
    if (c.rows >= 4) step.template operator()<4>();
    if (c.rows >= 2) step.template operator()<2>();
    if (c.rows >= 1) step.template operator()<1>();
}

/// c (m,n) = or += a (m,k) b (k,n) for k <= ProductTile::depth: panel by panel, so that one stays in the
/// first cache.
template <Real T>
void multiply_strips(const Strips<T>& a, const PackedView<T>& b, MatrixView<T> c, bool add) {
    using Tile = ProductTile<T>;
    for (Index j = 0; j < c.cols; j += Tile::cols) {
        const Index cols = std::min<Index>(Tile::cols, c.cols - j);
        const T* const panel = b.panel(j);
        const T* strip = a.data;
        for (Index i = 0; i < c.rows; i += Tile::rows, strip += a.strip_stride) {
            const auto tile = c.middle_rows(i, std::min<Index>(Tile::rows, c.rows - i)).middle_cols(j, cols);
            if (cols > Simd<T>::width)
                multiply_strip<T, 2>(strip, a.row_stride, a.col_stride, panel, b.row_stride, b.rows, tile,
                                     add);
            else
                multiply_strip<T, 1>(strip, a.row_stride, a.col_stride, panel, b.row_stride, b.rows, tile,
                                     add);
        }
    }
}

}  // namespace ring_attention::detail
