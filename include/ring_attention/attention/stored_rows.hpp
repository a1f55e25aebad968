#pragma once

#include <algorithm>
#include <concepts>
#include <cstddef>

#include <ring_attention/core/storage.hpp>
#include <ring_attention/kernels/bfloat16.hpp>
#include <ring_attention/kernels/blocked_product.hpp>
#include <ring_attention/kernels/matrix_view.hpp>

namespace ring_attention::inline RING_ATTENTION_ABI {

/// What a number of keys and values takes.
template <class T>
constexpr std::size_t stored_size(Storage storage) {
    return storage == Storage::bfloat16 ? sizeof(Bfloat16) : sizeof(T);
}

namespace detail {

/// Keys or values of one head as they are kept, (N, width); T may be const.
template <class T>
struct StoredRows {
    Storage storage = Storage::computing;
    MatrixView<T> numbers{};                // these,
    MatrixView<Bfloat16Like<T>> rounded{};  // or these

    template <class Given>
    requires std::convertible_to<MatrixView<Given>, MatrixView<T>> StoredRows(const MatrixView<Given>& rows)
        : numbers(rows) {}

    template <class Given>
    requires std::convertible_to<MatrixView<Given>, MatrixView<Bfloat16Like<T>>> StoredRows(
        const MatrixView<Given>& rows)
        : storage(Storage::bfloat16), rounded(rows) {}

    /// Calls f with the rows as they lie, a MatrixView of T or of Bfloat16Like<T>.
    void visit(auto&& f) const { storage == Storage::computing ? f(numbers) : f(rounded); }

    Index count() const { return storage == Storage::computing ? numbers.rows : rounded.rows; }

    StoredRows middle_rows(Index first, Index how_many) const {
        if (storage == Storage::computing) return numbers.middle_rows(first, how_many);
        return rounded.middle_rows(first, how_many);
    }
};

/// What is rounded already cannot go where it would be wide.
template <class T>
void copy_row(const StoredRows<const T>& from, Index from_row, const StoredRows<T>& to, Index to_row) {
    if (from.storage == Storage::bfloat16)
        std::copy_n(&from.rounded(from_row, 0), from.rounded.cols, &to.rounded(to_row, 0));
    else if (to.storage == Storage::bfloat16)
        round_numbers(&from.numbers(from_row, 0), from.numbers.cols, &to.rounded(to_row, 0));
    else
        std::copy_n(&from.numbers(from_row, 0), from.numbers.cols, &to.numbers(to_row, 0));
}

/// A copy that lasts as long as nobody else asks for the memory. Compiled once, and kept out of the way of
/// those who need none.
template <Real T>
[[gnu::noinline]] MatrixView<const T> widened_copy(const MatrixView<const Bfloat16>& rows,
                                                   AlignedBuffer<T>& memory) {
    // Not a multiple of 512 bytes apart, which would fall on few sets of the cache.
    const Index line = 64 / Index(sizeof(T)),
                spacing = rows.cols % (8 * line) == 0 ? rows.cols + line : rows.cols;
    T* const copy = memory.require(rows.rows * spacing);
    for (Index i = 0; i < rows.rows; ++i) widen_numbers(&rows(i, 0), rows.cols, copy + i * spacing);
    return {copy, rows.rows, rows.cols, spacing, 1};
}

/// The rows of a tile to compute with: as they lie, or widened in memory of the thread, until it asks for
/// others with the same use.
template <Workspace use, Real T>
MatrixView<const T> widened(const StoredRows<const T>& rows) {
    if (rows.storage == Storage::computing) return rows.numbers;
    return widened_copy<T>(rows.rounded, workspace<T, use>());
}

}  // namespace detail

}  // namespace ring_attention::inline RING_ATTENTION_ABI
