#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <type_traits>

#include <ring_attention/kernels/left_column.hpp>
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

/// sum += a b, a from `column` on; finish.approach(p) goes before the first products.
template <int rows, int vectors, class Element, class RowStride, class ColStride, class Right, class Finish>
[[gnu::always_inline]] inline void multiply_columns(Index k,
                                                    LeftColumn<rows, Element, RowStride, ColStride> column,
                                                    const Right* b, Index b_row, const Finish& finish,
                                                    auto& sum) {
    using Column = LeftColumn<rows, Element, RowStride, ColStride>;
    using T = typename ProductElement<Element>::Sum;
    using Lanes = typename ProductElement<Element>::Lanes;
    const auto multiply = [&](auto col) __attribute__((always_inline)) {
        Lanes row[std::size_t(vectors)];
        unrolled<vectors>([&](auto v) { row[v] = ProductElement<Element>::load(b + v * Simd<T>::width); });
        unrolled<rows>([&](auto i) {
            if constexpr (!Column::read_by_fma(i)) {
                const Lanes factor(column.template at<i, col>());
                unrolled<vectors>([&](auto v) { sum[i][v] = fma(factor, row[v], sum[i][v]); });
            }
        });
        if constexpr (Column::some_by_fma)
            unrolled<vectors>([&](auto v) __attribute__((always_inline)) {
                unrolled<rows>([&](auto i) __attribute__((always_inline)) {
                    if constexpr (Column::read_by_fma(i))
                        sum[i][v] = fma(Lanes(column.template at<i, col>()), row[v], sum[i][v]);
                });
                column.forget();
            });
        b += b_row;
    };
    const auto step = [&](auto columns) __attribute__((always_inline)) {
        unrolled<columns>(multiply);
        column.advance(columns);
    };
    using One = std::integral_constant<int, 1>;
    using Several = std::integral_constant<int, Column::columns>;
    Index p = 0;
    if constexpr (requires { finish.template approach<vectors>(p); })
        for (; p < std::min<Index>(rows, k); ++p) {
            finish.template approach<vectors>(p);
            step(One{});
        }
    for (; p + Several{} <= k; p += Several{}) step(Several{});
    if constexpr (Several{} > 1)
        for (; p < k; ++p) step(One{});
}

/// Makes the sums of a tile in registers, a (rows, k) b (k, vectors * width), from 0 or as finish.begin(sums)
/// says, and calls finish(sums). Column p of a begins at a + p * a_col, its rows are a_row apart; row p of b
/// begins at b + p * b_row.
template <int rows, int vectors, class Element, class Right, class Finish>
void multiply_tile(Index k, const Element* a, Index a_row, Index a_col, const Right* b, Index b_row,
                   const Finish& finish) {
    using T = typename ProductElement<Element>::Sum;
    Simd<T> sum[std::size_t(rows)][std::size_t(vectors)];
    if constexpr (requires { finish.begin(sum); })
        finish.begin(sum);
    else
        unrolled<rows>([&](auto i) { unrolled<vectors>([&](auto v) { sum[i][v] = Simd<T>(T(0)); }); });
    const auto multiply = [&](auto row_stride, auto col_stride) __attribute__((always_inline)) {
        using Column = LeftColumn<rows, Element, decltype(row_stride), decltype(col_stride)>;
        multiply_columns<rows, vectors>(k, Column(a, row_stride, col_stride), b, b_row, finish, sum);
    };
    // With less than AVX-512 there is nothing to gain.
    if constexpr (sizeof(Simd<T>) == 64 && rows >= 8 && vectors == 2 && !address_sanitizer) {
        if (a_row == 1)
            multiply(StrideOne{}, a_col);
        else if (a_col == 1)
            multiply(a_row, StrideOne{});
        else
            multiply(a_row, a_col);
    } else {
        multiply(a_row, a_col);
    }
    finish(sum);
}

/// A strip of `rows` rows in tiles: finish.middle_rows(first, count) is what follows a tile. Tiles wider than
/// ProductTile have one row or two.
template <int vectors, class Element, class Right, class Finish>
void multiply_strip(Index rows, const Element* a, Index a_row, Index a_col, const Right* b, Index b_row,
                    Index k, const Finish& finish) {
    using Tile = ProductTile<typename ProductElement<Element>::Sum>;
    constexpr bool wide = vectors > Tile::vectors;
    if constexpr (!wide)
        if (rows == Tile::rows)
            return multiply_tile<Tile::rows, vectors>(k, a, a_row, a_col, b, b_row,
                                                      finish.middle_rows(0, Tile::rows));
    Index first = 0;
    const auto step = [&]<int count>() {
        multiply_tile<count, vectors>(k, a + first * a_row, a_row, a_col, b, b_row,
                                      finish.middle_rows(first, count));
        first += count;
    };
    if constexpr (!wide && Tile::rows > 8)
        while (rows - first >= 8) step.template operator()<8>();
    if constexpr (!wide)
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

    /// How many rows to multiply next: a strip, or what is left. A tile of 2 rows has so few sums that each
    /// multiply-add waits for the one before; where rows adjoin, the last 16 or 24 are taken by eights.
    Index next_rows(Index left) const {
        const bool adjoin = strip_stride == rows * row_stride;
        const bool in_eights = rows > 8 && adjoin && left > rows && left <= 24 && left % 8 == 0;
        return in_eights ? left : std::min(rows, left);
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
    const Element* strip = a.data;
    for (Index i = 0, count; i < rows; i += count, strip += a.strip_stride) {
        count = a.next_rows(rows - i);
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
