#pragma once

#include <algorithm>

#include <ring_attention/core/parallel.hpp>
#include <ring_attention/kernels/matrix_view.hpp>
#include <ring_attention/kernels/micro_kernel.hpp>
#include <ring_attention/kernels/packing.hpp>
#include <ring_attention/kernels/simd.hpp>

namespace ring_attention {

enum class Into { overwrite, add };

namespace detail {

/// The blocks of a product, in elements: `rows` of a stay in the second cache; `cols` of b in the third.
template <Real T>
struct ProductBlock {
    static constexpr Index rows = ProductTile<T>::rows * (224 / ProductTile<T>::rows);
    static constexpr Index cols = ProductTile<T>::cols * 64;
    static constexpr Index depth = ProductTile<T>::depth;
    /// A block of c this wide is one task where there are few rows.
    static constexpr Index task_cols = ProductTile<T>::cols * 8;
};

enum class Workspace { left, right, product };

/// Memory that a thread keeps from one product to the next.
template <Real T, Workspace>
AlignedBuffer<T>& workspace() {
    thread_local AlignedBuffer<T> buffer;
    return buffer;
}

struct OnThisThread {
    void operator()(Index count, const auto& task) const {
        for (Index i = 0; i < count; ++i) task(i);
    }
};

struct OnAllThreads {
    void operator()(Index count, const auto& task) const { parallel_for(count, task); }
};

inline Index ceil_div(Index a, Index b) {
    return (a + b - 1) / b;
}

/// a (m,k) for a product with few columns: as it lies.
template <Real T>
Strips<T> unpacked_strips(MatrixView<const T> a) {
    return {a.data, a.rows, a.cols, a.row_stride, a.col_stride, ProductTile<T>::rows * a.row_stride};
}

/// a (m,k) in strips of ProductTile::rows rows, column after column.
template <Real T>
Strips<T> pack_strips(MatrixView<const T> a) {
    constexpr Index tile = ProductTile<T>::rows;
    T* const to = workspace<T, Workspace::left>().require(ceil_div(a.rows, tile) * tile * a.cols);
    for (Index i = 0; i < a.rows; i += tile)
        pack_panel<T>(a.middle_rows(i, std::min(tile, a.rows - i)).transposed(), to + i * a.cols, tile);
    return {to, a.rows, a.cols, 1, tile, tile * a.cols};
}

/// c (m,n) = or += a (m,k) b (k,n) for k <= depth, in blocks of rows of c (and of columns, where the rows are
/// few).
template <Real T>
void multiply_block(MatrixView<const T> a, const PackedView<T>& b, MatrixView<T> c, bool add,
                    const auto& for_all) {
    using Block = ProductBlock<T>;
    const Index row_blocks = ceil_div(c.rows, Block::rows);
    const Index block_cols = row_blocks < 16 ? Block::task_cols : c.cols;
    const Index col_blocks = ceil_div(c.cols, block_cols);
    for_all(row_blocks * col_blocks, [&](Index task) {
        const Index row = task / col_blocks * Block::rows, rows = std::min(Block::rows, c.rows - row);
        const Index col = task % col_blocks * block_cols, cols = std::min(block_cols, c.cols - col);
        const auto a_rows = a.middle_rows(row, rows);
        const auto strips =
            cols <= 4 * ProductTile<T>::cols ? unpacked_strips<T>(a_rows) : pack_strips<T>(a_rows);
        multiply_strips<T>(strips, b.middle_cols(col, cols), c.middle_rows(row, rows).middle_cols(col, cols),
                           add);
    });
}

/// c = a b, summed in blocks of k: ((block 0 + block 1) + block 2) + ...
template <Real T>
void multiply_blocks(MatrixView<const T> a, const PackedView<T>& b, MatrixView<T> c, bool add,
                     const auto& for_all) {
    constexpr Index depth = ProductBlock<T>::depth;
    for (Index p = 0; p < b.rows; p += depth) {
        const Index count = std::min(depth, b.rows - p);
        multiply_block<T>(a.middle_cols(p, count), b.middle_rows(p, count), c, add || p > 0, for_all);
    }
}

template <Real T>
PackedView<T> pack_block(MatrixView<const T> b, const auto& for_all) {
    constexpr Index panel_cols = PackedView<T>::panel_cols;
    T* const to = workspace<T, Workspace::right>().require(packed_size<T>(b.rows, b.cols));
    for_all(ceil_div(b.cols, panel_cols), [&](Index panel) { pack_b_panel<T>(b, panel * panel_cols, to); });
    return {to, b.rows, b.cols, panel_cols, b.rows * panel_cols};
}

/// c = a b; or c += a b where k is one block.
template <Real T>
void pack_and_multiply(MatrixView<const T> a, MatrixView<const T> b, MatrixView<T> c, bool add,
                       const auto& for_all) {
    using Block = ProductBlock<T>;
    for (Index col = 0; col < c.cols; col += Block::cols) {
        const Index cols = std::min(Block::cols, c.cols - col);
        for (Index p = 0; p < b.rows; p += Block::depth) {
            const Index count = std::min(Block::depth, b.rows - p);
            const auto packed = pack_block<T>(b.middle_rows(p, count).middle_cols(col, cols), for_all);
            multiply_block<T>(a.middle_cols(p, count), packed, c.middle_cols(col, cols), add || p > 0,
                              for_all);
        }
    }
}

/// c += product, row by row.
template <Real T>
void add_matrix(MatrixView<const T> product, MatrixView<T> c, const auto& for_all) {
    for_all(c.rows, [&](Index i) {
        for (Index j = 0; j < c.cols; ++j) c(i, j) += product(i, j);
    });
}

/// overwrite(a rows, b cols, product) for blocks of c, then c += product: a sum over many blocks of k is
/// finished before it is added.
template <Real T>
void add_by_blocks(MatrixView<T> c, const auto& overwrite, const auto& for_all) {
    constexpr Index block_rows = 1024, block_cols = ProductBlock<T>::cols;
    for (Index i = 0; i < c.rows; i += block_rows)
        for (Index j = 0; j < c.cols; j += block_cols) {
            const Index rows = std::min(block_rows, c.rows - i), cols = std::min(block_cols, c.cols - j);
            const MatrixView<T> product{workspace<T, Workspace::product>().require(rows * cols), rows, cols,
                                        cols, 1};
            overwrite(i, j, product);
            add_matrix<T>(product, c.middle_rows(i, rows).middle_cols(j, cols), for_all);
        }
}

template <Real T>
void fill_zero(MatrixView<T> c) {
    for (Index i = 0; i < c.rows; ++i)
        for (Index j = 0; j < c.cols; ++j) c(i, j) = T(0);
}

template <Real T>
void multiply_packed_on(MatrixView<const T> a, const PackedView<T>& b, MatrixView<T> c, Into into,
                        const auto& for_all) {
    const bool add = into == Into::add;
    if (a.cols == 0) {
        if (!add) fill_zero<T>(c);
    } else if (add && a.cols > ProductBlock<T>::depth) {
        add_by_blocks<T>(
            c,
            [&](Index i, Index j, MatrixView<T> product) {
                multiply_blocks<T>(a.middle_rows(i, product.rows), b.middle_cols(j, product.cols), product,
                                   false, for_all);
            },
            for_all);
    } else {
        multiply_blocks<T>(a, b, c, add, for_all);
    }
}

template <Real T>
void multiply_on(MatrixView<const T> a, MatrixView<const T> b, MatrixView<T> c, Into into,
                 const auto& for_all) {
    const bool add = into == Into::add;
    if (a.cols == 0) {
        if (!add) fill_zero<T>(c);
    } else if (c.col_stride != 1 && c.row_stride == 1) {
        multiply_on<T>(b.transposed(), a.transposed(), c.transposed(), into, for_all);
    } else if (add && a.cols > ProductBlock<T>::depth) {
        add_by_blocks<T>(
            c,
            [&](Index i, Index j, MatrixView<T> product) {
                pack_and_multiply<T>(a.middle_rows(i, product.rows), b.middle_cols(j, product.cols), product,
                                     false, for_all);
            },
            for_all);
    } else {
        pack_and_multiply<T>(a, b, c, add, for_all);
    }
}

}  // namespace detail

/// c (m,n) = or += a (m,k) b (k,n), any strides. The order of summation depends on k alone: the bits of
/// c(i,j) come from row i of a and column j of b (and c(i,j), to which the finished sum is added), whatever
/// the rest. c is neither a nor b.
template <Real T>
void multiply(MatrixView<const T> a, MatrixView<const T> b, MatrixView<T> c, Into into = Into::overwrite) {
    detail::multiply_on<T>(a, b, c, into, detail::OnThisThread{});
}

/// The same on all threads, in tiles of c whose shape depends on c's alone.
template <Real T>
void parallel_multiply(MatrixView<const T> a, MatrixView<const T> b, MatrixView<T> c,
                       Into into = Into::overwrite) {
    detail::multiply_on<T>(a, b, c, into, detail::OnAllThreads{});
}

/// multiply with a factor that was packed before, for one that is used many times. The same bits.
template <Real T>
void multiply_packed(MatrixView<const T> a, const PackedView<T>& b, MatrixView<T> c,
                     Into into = Into::overwrite) {
    detail::multiply_packed_on<T>(a, b, c, into, detail::OnThisThread{});
}

template <Real T>
void parallel_multiply_packed(MatrixView<const T> a, const PackedView<T>& b, MatrixView<T> c,
                              Into into = Into::overwrite) {
    detail::multiply_packed_on<T>(a, b, c, into, detail::OnAllThreads{});
}

}  // namespace ring_attention
