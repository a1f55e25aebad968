#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <memory>
#include <new>
#include <utility>

#include <ring_attention/kernels/bfloat16.hpp>
#include <ring_attention/kernels/matrix_view.hpp>
#include <ring_attention/kernels/simd.hpp>

// The factors of a product, copied into the order in which the micro-kernel reads them (Goto, van de Geijn
// 2008). Those kept as bfloat16 are widened meanwhile.

namespace ring_attention::inline RING_ATTENTION_ABI::detail {

/// Memory on a boundary of 64 bytes, which grows and is then kept.
template <class T>
class AlignedBuffer {
  public:
    T* data() const { return data_.get(); }

    /// At least `count` numbers; what was in there is lost.
    T* require(Index count) {
        if (count > capacity_) {
            const std::size_t bytes = bytes_of<T>(count);
            data_.reset();
            capacity_ = 0;
            data_.reset(static_cast<T*>(::operator new(bytes, alignment)));
            capacity_ = count;
        }
        return data_.get();
    }

  private:
    static constexpr std::align_val_t alignment{64};
    struct Release {
        void operator()(T* data) const { ::operator delete(data, alignment); }
    };

    std::unique_ptr<T, Release> data_;
    Index capacity_ = 0;
};

/// What the micro-kernel multiplies at a time, from the registers of the target: rows x cols numbers of c, as
/// accumulators, and sums over `depth` of k.
template <Real T>
struct ProductTile {
    static constexpr int vectors = 2;
    static constexpr int rows = (simd_registers - 4) / vectors;
    static constexpr int cols = vectors * Simd<T>::width;
    static constexpr Index depth = 512;
};

/// Transposes width x width numbers in registers, exchanging blocks of `distance` rows and lanes.
template <int distance, Real T>
[[gnu::always_inline]] inline void transpose(std::array<Simd<T>, std::size_t(Simd<T>::width)>& rows) {
    constexpr int width = Simd<T>::width;
    if constexpr (distance > 0) {
        const auto exchange = [&]<int... l>(auto i, std::integer_sequence<int, l...>) {
            const auto a = rows[i].lanes, b = rows[i + distance].lanes;
            rows[i] = __builtin_shufflevector(a, b, (l & distance ? width + l - distance : l)...);
            rows[i + distance] = __builtin_shufflevector(a, b, (l & distance ? width + l : l + distance)...);
        };
        unrolled<width>([&](auto i) {
            if constexpr ((i & distance) == 0) exchange(i, std::make_integer_sequence<int, width>{});
        });
        transpose<distance / 2, T>(rows);
    }
}

/// to[p * stride + i] = from[i * spacing + p] for i < lanes and p < count: the edge of a matrix. Long code,
/// kept out of the way of the usual.
template <Real T, class Number>
[[gnu::noinline]] void pack_transposed_edge(const Number* from, Index spacing, Index lanes, Index count,
                                            T* to, Index stride) {
    constexpr int width = Simd<T>::width;
    std::array<Simd<T>, std::size_t(width)> rows;
    unrolled<width>([&](auto i) {
        rows[i] = i >= lanes ? Simd<T>(T(0)) : load_partial_as<T>(from + i * spacing, count);
    });
    transpose<width / 2, T>(rows);
    unrolled<width>([&](auto p) {
        if (p < count) store_partial(rows[p], to + p * stride, lanes);
    });
}

/// to[p * stride + i] = from[i * spacing + p] for i < lanes <= width and p < count <= width.
template <Real T, class Number>
void pack_transposed(const Number* from, Index spacing, Index lanes, Index count, T* to, Index stride) {
    constexpr int width = Simd<T>::width;
    if (lanes < width || count < width) return pack_transposed_edge(from, spacing, lanes, count, to, stride);
    std::array<Simd<T>, std::size_t(width)> rows;
    unrolled<width>([&](auto i) { rows[i] = load_as<T>(from + i * spacing); });
    transpose<width / 2, T>(rows);
    unrolled<width>([&](auto p) { rows[p].store(to + p * stride); });
}

/// to[p * stride + i] = from[p * spacing + i] for i < lanes <= width and p < count.
template <Real T, class Number>
void pack_rows(const Number* from, Index spacing, Index lanes, Index count, T* to, Index stride) {
    if (lanes == Simd<T>::width)
        for (Index p = 0; p < count; ++p) load_as<T>(from + p * spacing).store(to + p * stride);
    else
        for (Index p = 0; p < count; ++p)
            store_partial(load_partial_as<T>(from + p * spacing, lanes), to + p * stride, lanes);
}

/// One panel of a factor x (rows,cols), cols <= stride: the rows one after another, each `stride` numbers.
/// What lies past the last column is not written.
template <Real T, class Number>
void pack_panel(MatrixView<Number> x, T* to, Index stride) {
    constexpr Index width = Simd<T>::width;
    for (Index i = 0; i < x.cols; i += width) {
        const Index lanes = std::min(width, x.cols - i);
        const auto* from = x.data + i * x.col_stride;
        if (x.col_stride == 1)
            pack_rows(from, x.row_stride, lanes, x.rows, to + i, stride);
        else if (x.row_stride == 1)
            for (Index p = 0; p < x.rows; p += width)
                pack_transposed(from + p, x.col_stride, lanes, std::min(width, x.rows - p),
                                to + p * stride + i, stride);
        else
            for (Index p = 0; p < x.rows; ++p)
                for (Index l = 0; l < lanes; ++l)
                    to[p * stride + i + l] = T(from[p * x.row_stride + l * x.col_stride]);
    }
}

/// x (k,n) in panels of `panel_cols` columns, one behind the other. Rows that are contiguous are taken a few
/// at a time through all the panels, so that a stride of a power of two does not push its own lines out of
/// the cache.
template <Real T, class Number>
void pack_panels(MatrixView<Number> x, T* to, Index panel_cols) {
    const Index step = x.col_stride == 1 ? 8 : std::max<Index>(x.rows, 1);
    for (Index p = 0; p < x.rows; p += step)
        for (Index j = 0; j < x.cols; j += panel_cols)
            pack_panel<T>(
                x.middle_rows(p, std::min(step, x.rows - p)).middle_cols(j, std::min(panel_cols, x.cols - j)),
                to + j * x.rows + p * panel_cols, panel_cols);
}

/// The right factor of products, b (rows,cols), in panels of ProductTile::cols columns; the columns that the
/// last one lacks may hold anything. The memory is somebody else's. Number: T, or what is widened to T when
/// it is read.
template <Real T, class Number = T>
struct PackedView {
    static constexpr Index panel_cols = ProductTile<T>::cols;

    const Number* data = nullptr;
    Index rows = 0;
    Index cols = 0;
    Index row_stride = panel_cols;
    Index panel_stride = 0;

    const Number* panel(Index col) const { return data + col / panel_cols * panel_stride; }

    PackedView middle_rows(Index first, Index count) const {
        return {data + first * row_stride, count, cols, row_stride, panel_stride};
    }

    /// `first` is a multiple of panel_cols.
    PackedView middle_cols(Index first, Index count) const {
        return {panel(first), rows, count, row_stride, panel_stride};
    }
};

/// How many numbers pack_b writes for b (rows,cols).
template <Real T>
constexpr Index packed_size(Index rows, Index cols) {
    constexpr Index panel_cols = PackedView<T>::panel_cols;
    return rows * ((cols + panel_cols - 1) / panel_cols * panel_cols);
}

/// Packs b (k,n) into packed_size(k, n) numbers at `to`.
template <Real T, class Number>
PackedView<T> pack_b(MatrixView<Number> b, T* to) {
    constexpr Index panel_cols = PackedView<T>::panel_cols;
    const Index whole = b.cols / panel_cols * panel_cols;
    if (whole < b.cols) std::fill_n(to + whole * b.rows, b.rows * panel_cols, T(0));
    pack_panels<T>(b, to, panel_cols);
    return {to, b.rows, b.cols, panel_cols, b.rows * panel_cols};
}

}  // namespace ring_attention::inline RING_ATTENTION_ABI::detail
