#pragma once

#include <algorithm>
#include <array>
#include <cstddef>

#include <ring_attention/kernels/matrix_view.hpp>
#include <ring_attention/kernels/packing.hpp>
#include <ring_attention/kernels/simd.hpp>

// c (m,n) = or += a (m,k) b (k,n), k short. The elements of a and b are numbers, or few of them that follow
// one another along k (bfloat16_pairs.hpp); those of b may be kept as bfloat16. Every element of c is one
// chain of fma over k, then, where it is added, one addition to c: its bits are the same in a tile of any
// shape.

RING_ATTENTION_PRECISE_BEGIN
namespace ring_attention::inline RING_ATTENTION_ABI::detail {

/// The type of the sums of products of elements, and a vector of elements: fma(Lanes, Lanes, Simd<Sum>).
template <class Element>
struct ProductElement;

template <Real T>
struct ProductElement<T> {
    using Sum = T;
    using Lanes = Simd<T>;
    /// Of numbers, or of those that are kept as bfloat16.
    [[gnu::always_inline]] static Lanes load(const auto* from) { return load_as<T>(from); }
};

/// A tile of c that is cut off by the edge, or whose columns are not contiguous, goes through memory.
template <Real T>
void write_tile(const T* tile, Index stride, MatrixView<T> c, bool add) {
    for (Index i = 0; i < c.rows; ++i)
        for (Index j = 0; j < c.cols; ++j)
            c(i, j) = add ? c(i, j) + tile[i * stride + j] : tile[i * stride + j];
}

/// c = or += the sums in registers.
template <Real T>
struct StoreTile {
    MatrixView<T> c;
    bool add;

    /// The tile of c is on its way while the sum is made.
    template <int vectors>
    [[gnu::always_inline]] void approach(Index row) const {
        const T* const next = c.data + row * c.row_stride;
        unrolled<vectors>([&](auto v) { __builtin_prefetch(next + v * Simd<T>::width, 1); });
        __builtin_prefetch(next + vectors * Simd<T>::width - 1, 1);
    }

    template <std::size_t rows, std::size_t vectors>
    [[gnu::always_inline]] void operator()(const Simd<T> (&sum)[rows][vectors]) const {
        constexpr int width = Simd<T>::width;
        if (c.cols < Index(vectors) * width || c.col_stride != 1) {
            constexpr int stride = int(vectors) * width;
            alignas(64) T tile[rows * std::size_t(stride)];
            unrolled<rows>([&](auto i) {
                unrolled<vectors>([&](auto v) { sum[i][v].store(tile + i * stride + v * width); });
            });
            write_tile<T>(tile, stride, c, add);
        } else {
            unrolled<rows>([&](auto i) {
                unrolled<vectors>([&](auto v) {
                    T* const to = c.data + i * c.row_stride + v * width;
                    (add ? Simd<T>::load(to) + sum[i][v] : sum[i][v]).store(to);
                });
            });
        }
    }

    StoreTile middle_rows(Index first, Index count) const { return {c.middle_rows(first, count), add}; }
};

/// Makes the sums of a tile in registers, a (rows, k) b (k, vectors * width), from 0 or as finish.begin(sums)
/// says, and calls finish(sums). Column
/// p of a begins at a + p * a_col, its rows are a_row apart; row p of b begins at b + p * b_row.
template <int rows, int vectors, class Element, class Right, class Finish>
void multiply_tile(Index k, const Element* a, Index a_row, Index a_col, const Right* b, Index b_row,
                   const Finish& finish) {
    using T = typename ProductElement<Element>::Sum;
    using Lanes = typename ProductElement<Element>::Lanes;
    constexpr int width = Simd<T>::width;
    Simd<T> sum[std::size_t(rows)][std::size_t(vectors)];
    if constexpr (requires { finish.begin(sum); })
        finish.begin(sum);
    else
        unrolled<rows>([&](auto i) { unrolled<vectors>([&](auto v) { sum[i][v] = Simd<T>(T(0)); }); });
    // Three rows share a pointer: one each, or one with an offset for every row, would not fit the integer
    // registers.
    constexpr int groups = (rows + 2) / 3;
    const Element* group[std::size_t(groups)];
    unrolled<groups>([&](auto g) { group[g] = a + 3 * g * a_row; });
    const auto step = [&]() __attribute__((always_inline)) {
        Lanes row[std::size_t(vectors)];
        unrolled<vectors>([&](auto v) { row[v] = ProductElement<Element>::load(b + v * width); });
        unrolled<rows>([&](auto i) {
            const Lanes factor(group[i / 3][i % 3 * a_row]);
            unrolled<vectors>([&](auto v) { sum[i][v] = fma(factor, row[v], sum[i][v]); });
        });
        unrolled<groups>([&](auto g) { group[g] += a_col; });
        b += b_row;
    };
    Index p = 0;
    if constexpr (requires { finish.template approach<vectors>(p); })
        for (; p < std::min<Index>(rows, k); ++p) {
            finish.template approach<vectors>(p);
            step();
        }
    for (; p < k; ++p) step();
    finish(sum);
}

/// A strip of `rows` rows in tiles: finish.middle_rows(first, count) is what follows a tile.
template <int vectors, class Element, class Right, class Finish>
void multiply_strip(Index rows, const Element* a, Index a_row, Index a_col, const Right* b, Index b_row,
                    Index k, const Finish& finish) {
    constexpr int tile = ProductTile<typename ProductElement<Element>::Sum>::rows;
    if (rows >= tile)
        return multiply_tile<tile, vectors>(k, a, a_row, a_col, b, b_row, finish.middle_rows(0, tile));
    Index first = 0;
    const auto step = [&]<int count>() {
        multiply_tile<count, vectors>(k, a + first * a_row, a_row, a_col, b, b_row,
                                      finish.middle_rows(first, count));
        first += count;
    };
    if constexpr (tile > 8)
        if (rows - first >= 8) step.template operator()<8>();
    if (rows - first >= 4) step.template operator()<4>();
    if (rows - first >= 2) step.template operator()<2>();
    if (rows - first >= 1) step.template operator()<1>();
}

/// The left factor as the micro-kernel reads it: element (i,p) of strip s at data + s * strip_stride + i *
/// row_stride + p * col_stride, a strip being ProductTile::rows rows.
template <class Element>
struct Strips {
    static constexpr Index rows = ProductTile<typename ProductElement<Element>::Sum>::rows;

    const Element* data;
    Index row_stride, col_stride, strip_stride;

    /// `row` is a multiple of ProductTile::rows.
    Strips from_row(Index row) const {
        return {data + row / rows * strip_stride, row_stride, col_stride, strip_stride};
    }
};

/// a (m,k) as it lies.
template <class Element>
Strips<Element> unpacked_strips(MatrixView<const Element> a) {
    return {a.data, a.row_stride, a.col_stride, Strips<Element>::rows * a.row_stride};
}

/// `rows` rows of a by one panel of b. Of the strip of rows [i, last], columns within(i, last) of a are
/// looked at, and these rows of b.
template <int vectors, class Element, class Right, class Finish>
void multiply_panel(Index rows, const Strips<Element>& a, const Right* b, Index b_row, auto&& within,
                    const Finish& finish) {
    constexpr Index tile = Strips<Element>::rows;
    const Element* strip = a.data;
    for (Index i = 0; i < rows; i += tile, strip += a.strip_stride) {
        const Index count = std::min(tile, rows - i);
        const IndexRange k = within(i, i + count - 1);
        multiply_strip<vectors>(count, strip + k.first * a.col_stride, a.row_stride, a.col_stride,
                                b + k.first * b_row, b_row, k.count, finish.middle_rows(i, count));
    }
}

/// For multiply_panel: all k columns of a.
inline auto whole_depth(Index k) {
    return [k](Index, Index) { return IndexRange{0, k}; };
}

/// c (m,n) = or += a (m,k) b (k,n) for k <= ProductTile::depth: panel by panel, so that one stays in the
/// first cache. within: as for multiply_panel.
template <Real T, class Right>
void multiply_strips_within(const Strips<T>& a, const PackedView<T, Right>& b, MatrixView<T> c, bool add,
                            auto&& within) {
    constexpr Index panel_cols = ProductTile<T>::cols;
    for (Index j = 0; j < c.cols; j += panel_cols) {
        const StoreTile<T> store{c.middle_cols(j, std::min(panel_cols, c.cols - j)), add};
        if (store.c.cols > Simd<T>::width)
            multiply_panel<2>(c.rows, a, b.panel(j), b.row_stride, within, store);
        else
            multiply_panel<1>(c.rows, a, b.panel(j), b.row_stride, within, store);
    }
}

template <Real T, class Right>
void multiply_strips(const Strips<T>& a, const PackedView<T, Right>& b, MatrixView<T> c, bool add) {
    multiply_strips_within<T>(a, b, c, add, whole_depth(b.rows));
}

}  // namespace ring_attention::inline RING_ATTENTION_ABI::detail
RING_ATTENTION_PRECISE_END
