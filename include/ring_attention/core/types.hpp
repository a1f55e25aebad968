#pragma once

#include <cstddef>
#include <span>

#include <Eigen/Core>

#include <ring_attention/core/memory.hpp>

namespace ring_attention::inline RING_ATTENTION_ABI {

/// Signed and of 64 bits, whatever Eigen counts with (EIGEN_DEFAULT_DENSE_INDEX_TYPE).
using Index = std::ptrdiff_t;
static_assert(sizeof(Index) == 8, "ring_attention: sizes are counted in 64 bits");

/// A run of neighbours: seats of a rank, tokens of a seat, rows or columns of a matrix.
struct IndexRange {
    Index first = 0;
    Index count = 0;
    Index end() const { return first + count; }
    bool operator==(const IndexRange&) const = default;
};

namespace detail {

/// Numbers without gaps. A type of this library in the type of every expression: Eigen compiles an expression
/// of the same type to other code in a unit with other flags, under the same name.
struct NoGaps : Eigen::Stride<0, 0> {};

/// Somebody's numbers, as an Eigen matrix or array.
template <class Plain, int alignment = Eigen::Unaligned>
using MapOf = Eigen::Map<Plain, alignment, NoGaps>;

/// An Eigen matrix in memory that the thread keeps: Eigen's own would ask the system for each. It can do what
/// an Eigen::Map can, and owns its numbers.
template <class Plain>
class Owned : public MapOf<Plain, Eigen::Aligned64> {
    using Numbers = MapOf<Plain, Eigen::Aligned64>;
    using T = typename Plain::Scalar;
    static constexpr bool is_row = Plain::RowsAtCompileTime == 1;

  public:
    using PlainObject = Plain;

    Owned() : Numbers(nullptr, is_row ? 1 : 0, 0) {}
    /// Throws std::bad_alloc where there is not so much memory, or a size is negative.
    Owned(Index rows, Index cols) : Owned(Buffer<T>(product_of_sizes(rows, cols)), rows, cols) {}
    explicit Owned(Index cols) requires is_row : Owned(1, cols) {}
    Owned(const Owned& other) : Owned(static_cast<const Eigen::DenseBase<Numbers>&>(other)) {}
    Owned(Owned&& other) noexcept : Owned() { swap(other); }
    template <class Derived>
    Owned(const Eigen::EigenBase<Derived>& numbers) : Owned(numbers.rows(), numbers.cols()) {
        Numbers::operator=(numbers.derived());
    }

    Owned& operator=(const Owned& other) {
        if (this != &other) assign(static_cast<const Numbers&>(other));
        return *this;
    }
    Owned& operator=(Owned&& other) noexcept {
        swap(other);
        return *this;
    }
    template <class Derived>
    Owned& operator=(const Eigen::EigenBase<Derived>& numbers) {
        assign(numbers.derived());
        return *this;
    }

    /// What was in there is lost, unless the number of numbers is the same.
    void resize(Index rows, Index cols) {
        if (product_of_sizes(rows, cols) == this->size())
            place(rows, cols);
        else
            *this = Owned(rows, cols);
    }
    void resize(Index cols) requires is_row { resize(1, cols); }

    void swap(Owned& other) noexcept {
        std::swap(buffer_, other.buffer_);
        const Index rows = this->rows(), cols = this->cols();
        place(other.rows(), other.cols());
        other.place(rows, cols);
    }

  private:
    Owned(Buffer<T> buffer, Index rows, Index cols)
        : Numbers(buffer.data(), rows, cols), buffer_(std::move(buffer)) {}

    /// `numbers` may speak of these here, so they stay until the new ones are there.
    void assign(const auto& numbers) {
        if (product_of_sizes(numbers.rows(), numbers.cols()) == this->size()) {
            place(numbers.rows(), numbers.cols());
            Numbers::operator=(numbers);
        } else {
            Owned fresh(numbers.rows(), numbers.cols());
            fresh.Numbers::operator=(numbers);
            swap(fresh);
        }
    }

    /// An Eigen::Map is moved to other numbers by being made again.
    void place(Index rows, Index cols) noexcept {
        ::new (static_cast<Numbers*>(this)) Numbers(buffer_.data(), rows, cols);
    }

    Buffer<T> buffer_;
};

}  // namespace detail

/// A matrix as the library keeps it: one row a token (or a row of a kernel), contiguous.
template <class T>
using Matrix = detail::Owned<Eigen::Matrix<T, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>>;

/// A bias, gamma or beta; also one row of a Matrix.
template <class T>
using RowVector = detail::Owned<Eigen::Matrix<T, 1, Eigen::Dynamic>>;

namespace detail {

/// The numbers of a matrix or tensor, in the order in which they lie.
auto numbers_of(auto& tensor) {
    return std::span(tensor.data(), std::size_t(tensor.size()));
}

}  // namespace detail

}  // namespace ring_attention::inline RING_ATTENTION_ABI
