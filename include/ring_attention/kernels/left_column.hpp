#pragma once

#include <concepts>
#include <cstddef>
#include <type_traits>

#include <ring_attention/core/types.hpp>
#include <ring_attention/kernels/simd.hpp>

namespace ring_attention::inline RING_ATTENTION_ABI::detail {

/// Its code for loops that differ in their strides alone would take minutes to compile.
#if defined(__SANITIZE_ADDRESS__)
inline constexpr bool address_sanitizer = true;
#elif defined(__has_feature)
inline constexpr bool address_sanitizer = __has_feature(address_sanitizer);
#else
inline constexpr bool address_sanitizer = false;
#endif

/// A stride that the compiler knows.
using StrideOne = std::integral_constant<Index, 1>;

/// Where the micro-kernel is in its left factor: at a column of `rows` elements. A stride is an Index or
/// StrideOne. Where two threads share a core, each gets half of the instructions that it can issue, and what
/// there is beside the fma counts: so where rows or columns are next to each other, the fma of AVX-512 read
/// some elements themselves, and a pointer serves several of them.
template <int rows, class Element, class RowStride, class ColStride>
class LeftColumn {
    static constexpr bool rows_adjoin = !std::same_as<RowStride, Index>,
                          columns_adjoin = !std::same_as<ColStride, Index>;
    // Of rows that lie apart three share a pointer: one each, or one with an offset for every row, would not
    // fit the integer registers.
    static constexpr int share = rows_adjoin ? rows : 3, pointers = (rows + share - 1) / share;

  public:
    /// Columns that are worth one step of the pointers.
    static constexpr int columns = columns_adjoin ? 2 : 1;

    /// Whether some elements are read anew for every fma, by the fma itself: it can where the address is a
    /// pointer and a constant.
    static constexpr bool some_by_fma = rows_adjoin || columns_adjoin;

    /// Which. Not all, for that takes more loads.
    static constexpr bool read_by_fma(int row) {
        return rows_adjoin ? 7 * row >= 3 * rows : columns_adjoin && row % share == 0;
    }

    LeftColumn(const Element* a, RowStride row_stride, ColStride col_stride)
        : row_stride_(row_stride), col_stride_(col_stride) {
        unrolled<pointers>([&](auto g) { pointer_[g] = a + share * g * row_stride; });
    }

    /// Of the column that is `col` further on.
    template <int row, int col>
    [[gnu::always_inline]] Element at() const {
        return pointer_[row / share][row % share * row_stride_ + col * col_stride_];
    }

    /// What was read is read again: the compiler takes the pointers for others from here on.
    [[gnu::always_inline]] void forget() {
        unrolled<pointers>([&](auto g) __attribute__((always_inline)) { asm("" : "+r"(pointer_[g])); });
    }

    [[gnu::always_inline]] void advance(int cols) {
        unrolled<pointers>([&](auto g) __attribute__((always_inline)) { pointer_[g] += cols * col_stride_; });
    }

  private:
    const Element* pointer_[std::size_t(pointers)];
    RowStride row_stride_;
    ColStride col_stride_;
};

}  // namespace ring_attention::inline RING_ATTENTION_ABI::detail
