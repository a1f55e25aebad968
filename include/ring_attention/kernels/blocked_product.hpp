#pragma once

#include <algorithm>
#include <concepts>

#include <ring_attention/kernels/matrix_view.hpp>
#include <ring_attention/kernels/micro_kernel.hpp>
#include <ring_attention/kernels/product_block.hpp>
#include <ring_attention/kernels/rows_as_they_lie.hpp>

// Products of any size, cut into blocks that fit the caches (Goto, van de Geijn 2008). How a product is cut
// changes no bit of it, except for the blocks of k.

namespace ring_attention::inline RING_ATTENTION_ABI::detail {

/// c (m,n) = or += a (m,k) b (k,n), one block deep.
template <Real T, class Right>
void multiply_block(MatrixView<const T> a, const PackedView<T, Right>& b, MatrixView<T> c, bool add,
                    const auto& for_all, const TileFinish<T>& finish) {
    using Block = ProductBlock<T>;
    if (c.cols == 0) return;
    const auto multiply_tile = [&](const Strips<T>& strips, Index first, Index row, Index col, Index cols) {
        const MatrixView<T> rows =
                                c.middle_rows(first + row, std::min(Block::tile_rows, c.rows - first - row)),
                            tile = rows.middle_cols(col, std::min(cols, c.cols - col));
        multiply_strips<T>(strips.from_row(row), b.middle_cols(col, tile.cols), tile, add);
        finish(tile, first + row, col);
    };
    const Index row_tiles = ceil_div(c.rows, Block::tile_rows), wanted = for_all.tasks_wanted();
    if (row_tiles >= wanted) {  // a thread packs what it multiplies
        const Index own_rows = Block::tile_rows * std::clamp<Index>(row_tiles / (2 * wanted), 1, 2);
        for_all(ceil_div(c.rows, own_rows), [&](Index block) {
            const Index first = block * own_rows, count = std::min(own_rows, c.rows - first);
            const Strips<T> strips = strips_for<T>(a.middle_rows(first, count), c.cols, OnThisThread{});
            for (Index col = 0; col < c.cols; col += Block::tile_cols)
                for (Index row = 0; row < count; row += Block::tile_rows)
                    multiply_tile(strips, first, row, col, Block::tile_cols);
        });
    } else {
        const Strips<T> strips = strips_for<T>(a, c.cols, for_all);
        constexpr Index panel_cols = PackedView<T>::panel_cols;
        const Index panels = ceil_div(ceil_div(c.cols, panel_cols), ceil_div(wanted, row_tiles)),
                    cols = std::min(Block::tile_cols, panels * panel_cols);
        for_all(row_tiles * ceil_div(c.cols, cols), [&](Index task) {
            multiply_tile(strips, 0, task % row_tiles * Block::tile_rows, task / row_tiles * cols, cols);
        });
    }
}

/// The same for few rows of a, which make use of a panel of b once: whoever packs it multiplies it, while it
/// is in the cache.
template <Real T, class Right>
void multiply_few_rows_of_block(MatrixView<const T> a, MatrixView<const Right> b, MatrixView<T> c, bool add,
                                const auto& for_all, const TileFinish<T>& finish) {
    constexpr Index step = 2 * PackedView<T>::panel_cols;
    for_all(ceil_div(c.cols, step), [&](Index task) {
        const Index col = task * step, cols = std::min(step, c.cols - col);
        const MatrixView<T> tile = c.middle_cols(col, cols);
        multiply_strips<T>(unpacked_strips<T>(a), pack_panels_of<T>(b.middle_cols(col, cols), OnThisThread{}),
                           tile, add);
        finish(tile, 0, col);
    });
}

/// The same for a b that has not been packed.
template <Real T, class Right>
void multiply_block(MatrixView<const T> a, MatrixView<const Right> b, MatrixView<T> c, bool add,
                    const auto& for_all, const TileFinish<T>& finish) {
    // Each strip of a widens b anew.
    constexpr Index few = (std::same_as<T, Right> ? 16 : 2) * ProductTile<T>::rows;
    Index col = 0;
    if (c.rows <= few && b.col_stride == 1) {
        col = c.cols / PackedView<T>::panel_cols * PackedView<T>::panel_cols;
        multiply_rows_as_they_lie<T>(a, b.middle_cols(0, col), c.middle_cols(0, col), add, for_all, finish);
    }
    if (c.rows <= ProductTile<T>::rows && b.col_stride != 1)
        return multiply_few_rows_of_block<T>(a, b, c, add, for_all, finish);
    for (Index cols; col < c.cols; col += cols) {
        cols = std::min(ProductBlock<T>::cols, c.cols - col);
        multiply_block<T>(a, pack_panels_of<T>(b.middle_cols(col, cols), for_all), c.middle_cols(col, cols),
                          add, for_all, finish.from_col(col));
    }
}

/// c += product, row by row.
template <Real T>
void add_matrix(MatrixView<const T> product, MatrixView<T> c, const auto& for_all) {
    for_all(c.rows, [&](Index i) {
        for (Index j = 0; j < c.cols; ++j) c(i, j) += product(i, j);
    });
}

/// c = a b, or c += a b where k is one block.
template <Real T>
void multiply_blocks(MatrixView<const T> a, const auto& b, MatrixView<T> c, bool add, const auto& for_all,
                     const TileFinish<T>& finish = {}) {
    if (c.rows == 0 || c.cols == 0) return;  // a matrix without numbers need not have a place
    const Index depth = block_depth<T>(a.cols);
    for (Index p = 0; p < a.cols; p += depth) {
        const Index count = std::min(depth, a.cols - p);
        multiply_block<T>(a.middle_cols(p, count), b.middle_rows(p, count), c, add || p > 0, for_all,
                          p + count == a.cols ? finish : TileFinish<T>());
    }
}

/// c += a b for several blocks of k: their sum is finished before it is added.
template <Real T>
void add_blocks(MatrixView<const T> a, const auto& b, MatrixView<T> c, const auto& for_all) {
    constexpr Index block_rows = ProductBlock<T>::add_rows, block_cols = ProductBlock<T>::add_cols;
    for (Index i = 0; i < c.rows; i += block_rows)
        for (Index j = 0; j < c.cols; j += block_cols) {
            const Index rows = std::min(block_rows, c.rows - i), cols = std::min(block_cols, c.cols - j);
            const MatrixView<T> product{workspace<T, Workspace::product>().require(rows * cols), rows, cols,
                                        cols, 1};
            multiply_blocks<T>(a.middle_rows(i, rows), b.middle_cols(j, cols), product, false, for_all);
            add_matrix<T>(product, c.middle_rows(i, rows).middle_cols(j, cols), for_all);
        }
}

template <Real T>
void multiply_on(MatrixView<const T> a, const auto& b, MatrixView<T> c, bool add, const auto& for_all) {
    if (add && a.cols > ProductTile<T>::depth)
        add_blocks<T>(a, b, c, for_all);
    else if (a.cols > 0)
        multiply_blocks<T>(a, b, c, add, for_all);
    else if (!add)
        for (Index i = 0; i < c.rows; ++i)
            for (Index j = 0; j < c.cols; ++j) c(i, j) = T(0);
}

/// A c whose columns are contiguous is the transpose of a product whose rows are.
template <Real T, class Right>
void multiply_unpacked_on(MatrixView<const T> a, MatrixView<const Right> b, MatrixView<T> c, bool add,
                          const auto& for_all) {
    if constexpr (std::same_as<T, Right>)
        if (c.col_stride != 1 && c.row_stride == 1)
            return multiply_on<T>(b.transposed(), a.transposed(), c.transposed(), add, for_all);
    multiply_on<T>(a, b, c, add, for_all);
}

}  // namespace ring_attention::inline RING_ATTENTION_ABI::detail
