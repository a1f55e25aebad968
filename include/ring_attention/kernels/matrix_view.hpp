#pragma once

#include <type_traits>

#include <ring_attention/core/types.hpp>

namespace ring_attention::inline RING_ATTENTION_ABI::detail {

/// A matrix that somebody else owns, with any strides: a block, a head, a transpose. T may be const.
template <class T>
struct MatrixView {
    T* data = nullptr;
    Index rows = 0;
    Index cols = 0;
    Index row_stride = 0;
    Index col_stride = 1;

    T& operator()(Index row, Index col) const { return data[row * row_stride + col * col_stride]; }

    MatrixView transposed() const { return {data, cols, rows, col_stride, row_stride}; }

    MatrixView middle_rows(Index first, Index count) const {
        return {data + first * row_stride, count, cols, row_stride, col_stride};
    }

    MatrixView middle_cols(Index first, Index count) const {
        return {data + first * col_stride, rows, count, row_stride, col_stride};
    }

    operator MatrixView<const T>() const requires(!std::is_const_v<T>) {
        return {data, rows, cols, row_stride, col_stride};
    }
};

template <class T>
MatrixView<T> view(Matrix<T>& matrix) {
    return {matrix.data(), matrix.rows(), matrix.cols(), matrix.cols(), 1};
}

template <class T>
MatrixView<const T> view(const Matrix<T>& matrix) {
    return {matrix.data(), matrix.rows(), matrix.cols(), matrix.cols(), 1};
}

/// Contiguous numbers that are wanted soon, on their way to the first cache.
template <class T>
void prefetch(const T* numbers, Index count) {
    constexpr Index line = 64 / Index(sizeof(T));
    for (Index i = 0; i < count; i += line) __builtin_prefetch(numbers + i);
}

}  // namespace ring_attention::inline RING_ATTENTION_ABI::detail
