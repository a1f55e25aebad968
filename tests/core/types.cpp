#include <numeric>
#include <thread>
#include <type_traits>
#include <utility>

#include <doctest/doctest.h>

#include <ring_attention/core/types.hpp>

#include "support/system_memory.hpp"

namespace ra = ring_attention;
using ra::Index;
using support::requests_of;

namespace {

/// first, first + 1, ... row by row.
template <class T>
ra::Matrix<T> counted(Index rows, Index cols, int first = 0) {
    ra::Matrix<T> matrix(rows, cols);
    std::iota(matrix.data(), matrix.data() + matrix.size(), T(first));
    return matrix;
}

template <class T>
bool holds(const ra::Matrix<T>& matrix, Index rows, Index cols, int first = 0) {
    return matrix.rows() == rows && matrix.cols() == cols && matrix == counted<T>(rows, cols, first);
}

}  // namespace

static_assert(std::copyable<ra::Matrix<float>> && std::default_initializable<ra::Matrix<float>>);
static_assert(std::copyable<ra::RowVector<double>> && std::default_initializable<ra::RowVector<double>>);
static_assert(std::is_nothrow_move_constructible_v<ra::Matrix<float>> &&
              std::is_nothrow_move_assignable_v<ra::Matrix<float>>);
static_assert(std::is_constructible_v<ra::RowVector<float>, Index> &&
              !std::is_constructible_v<ra::Matrix<float>, Index>);
static_assert(!std::is_convertible_v<Index, ra::RowVector<float>>);

TEST_CASE_TEMPLATE("matrix: row by row, on a boundary of 64 bytes", T, float, double) {
    for (Index cols = 1; cols < 20; ++cols) {
        const ra::Matrix<T> matrix = counted<T>(3, cols);
        CHECK(&matrix(1, 0) == matrix.data() + cols);
        CHECK(matrix(2, cols - 1) == T(3 * cols - 1));
        CHECK(reinterpret_cast<std::uintptr_t>(matrix.data()) % 64 == 0);
        const ra::RowVector<T> row(cols);
        CHECK(row.rows() == 1);
        CHECK(row.cols() == cols);
        CHECK(reinterpret_cast<std::uintptr_t>(row.data()) % 64 == 0);
    }
}

TEST_CASE_TEMPLATE("matrix: a copy has numbers of its own", T, float, double) {
    ra::Matrix<T> matrix = counted<T>(3, 5);
    ra::Matrix<T> copy = matrix;
    CHECK(holds(copy, 3, 5));
    copy(0, 0) = 7;
    CHECK(holds(matrix, 3, 5));

    ra::Matrix<T> same_size = counted<T>(5, 3, 50), other_size = counted<T>(2, 2, 90), empty;
    const T* const place = same_size.data();
    CHECK(requests_of([&] { same_size = matrix; }) == 0);
    CHECK(same_size.data() == place);
    other_size = empty = matrix;
    for (ra::Matrix<T>* assigned : {&same_size, &other_size, &empty}) {
        CHECK(holds(*assigned, 3, 5));
        (*assigned)(0, 0) = 7;
        CHECK(holds(matrix, 3, 5));
    }
}

TEST_CASE_TEMPLATE("matrix: a move hands on the numbers, and what it was moved from can be used again", T,
                   float, double) {
    ra::Matrix<T> matrix = counted<T>(3, 5), other = counted<T>(2, 2);
    const T* const place = matrix.data();
    ra::Matrix<T> moved;
    // Nothing else may be in the counted call: the first CHECK of a program asks for memory itself.
    CHECK(requests_of([&] {
              ra::Matrix<T> taken = std::move(matrix);
              moved = std::move(taken);
          }) == 0);
    CHECK(moved.data() == place);
    CHECK(holds(moved, 3, 5));
    CHECK(matrix.size() == 0);
    other = std::move(moved);
    CHECK(other.data() == place);
    CHECK(holds(other, 3, 5));
    matrix = other;
    CHECK(holds(matrix, 3, 5));
}

TEST_CASE_TEMPLATE("matrix: assigned to itself it stays what it is", T, float, double) {
    ra::Matrix<T> matrix = counted<T>(3, 5), empty;
    ra::Matrix<T>&alias = matrix, &empty_alias = empty;
    const T* const place = matrix.data();
    matrix = alias;
    CHECK(holds(matrix, 3, 5));
    matrix = std::move(alias);
    CHECK(holds(matrix, 3, 5));
    matrix.swap(alias);
    CHECK(holds(matrix, 3, 5));
    CHECK(matrix.data() == place);
    empty = empty_alias;
    empty = std::move(empty_alias);
    CHECK(empty.size() == 0);
}

TEST_CASE_TEMPLATE("matrix: resized, it keeps its numbers where their number stays", T, float, double) {
    ra::Matrix<T> matrix = counted<T>(3, 5);
    const T* const place = matrix.data();
    CHECK(requests_of([&] { matrix.resize(5, 3); }) == 0);
    CHECK(matrix.data() == place);
    CHECK(holds(matrix, 5, 3));
    for (const auto& [rows, cols] : {std::pair<Index, Index>{4, 5}, {1, 1}, {40, 50}, {2, 3}}) {
        matrix.resize(rows, cols);
        CHECK(matrix.rows() == rows);
        CHECK(matrix.cols() == cols);
        matrix = counted<T>(rows, cols, 3);
        CHECK(holds(matrix, rows, cols, 3));
    }
}

TEST_CASE_TEMPLATE("matrix: sizes of 0 keep their shape and hold no memory", T, float, double) {
    CHECK(requests_of([] {
              ra::Matrix<T> matrix;
              CHECK(matrix.rows() == 0);
              CHECK(matrix.cols() == 0);
              CHECK(matrix.data() == nullptr);
              const ra::Matrix<T> no_rows(0, 5), no_cols(5, 0), copy = no_rows;
              CHECK(copy.rows() == 0);
              CHECK(copy.cols() == 5);
              matrix = no_cols;
              CHECK(matrix.rows() == 5);
              CHECK(matrix.cols() == 0);
              matrix.setZero();
              matrix.resize(0, 7);
              CHECK(matrix.cols() == 7);
              matrix = no_rows + no_rows;
              CHECK(matrix.cols() == 5);
              CHECK(matrix == no_rows);
          }) == 0);
    ra::Matrix<T> full = counted<T>(3, 5);
    full.resize(0, 5);
    CHECK(full.data() == nullptr);
    full = counted<T>(2, 2);
    CHECK(holds(full, 2, 2));
}

TEST_CASE_TEMPLATE("matrix: swap exchanges numbers and shapes", T, float, double) {
    ra::Matrix<T> a = counted<T>(3, 5), b = counted<T>(2, 4, 50), empty(0, 9);
    const T *const of_a = a.data(), *const of_b = b.data();
    a.swap(b);
    CHECK(a.data() == of_b);
    CHECK(b.data() == of_a);
    CHECK(holds(a, 2, 4, 50));
    CHECK(holds(b, 3, 5));
    a.swap(empty);
    CHECK(a.cols() == 9);
    CHECK(a.size() == 0);
    CHECK(holds(empty, 2, 4, 50));
}

TEST_CASE_TEMPLATE("matrix: made of and assigned from expressions", T, float, double) {
    const ra::Matrix<T> x = counted<T>(3, 5), y = counted<T>(3, 5, 10);
    ra::Matrix<T> sum = x + y;
    CHECK(sum == y + x);
    CHECK(sum(2, 4) == 14 + 24);
    CHECK(requests_of([&] { sum = y - x; }) == 0);
    CHECK((sum.array() == 10).all());
    sum = x.transpose();  // as many numbers, in another shape
    CHECK(sum.rows() == 5);
    CHECK(sum(4, 2) == x(2, 4));
    sum = ra::Matrix<T>::Constant(2, 2, 3);
    CHECK((sum.array() == 3).all());
    sum = x.middleRows(1, 2);
    CHECK(sum == x.bottomRows(2));
    sum += x.topRows(2);
    CHECK(sum(1, 0) == 10 + 5);

    typename ra::Matrix<T>::PlainObject plain = x;
    CHECK(plain == x);
    sum = plain;
    CHECK(holds(sum, 3, 5));
    sum = x.row(1);
    CHECK(sum.rows() == 1);
    CHECK(sum(0, 1) == x(1, 1));
}

TEST_CASE("matrix: assigned from a product, of itself too") {
    const ra::Matrix<double> a = counted<double>(3, 5), b = counted<double>(5, 4, 10);
    const ra::Matrix<double> product = a * b;
    CHECK(product(1, 2) == 5 * 12 + 6 * 16 + 7 * 20 + 8 * 24 + 9 * 28);
    ra::Matrix<double> x = a;
    x = x * b;
    CHECK(x == product);
    x = ra::Matrix<double>::Identity(3, 3) * x;
    CHECK(x == product);
}

TEST_CASE_TEMPLATE("matrix: assigned from a part of itself", T, float, double) {
    // Made on another thread, so that this one gives it back to the system and not to the next that asks.
    ra::Matrix<T> x;
    std::thread([&] { x = counted<T>(300, 500); }).join();
    x = x.bottomRows(10) * T(2);
    CHECK(x.rows() == 10);
    CHECK(x(9, 499) == T(2 * (300 * 500 - 1)));
}

TEST_CASE_TEMPLATE("row vector: a bias, or a row of a matrix", T, float, double) {
    const ra::Matrix<T> matrix = counted<T>(3, 5);
    ra::RowVector<T> row = matrix.row(1), empty;
    CHECK(empty.rows() == 1);
    CHECK(empty.cols() == 0);
    CHECK(row == matrix.row(1));
    CHECK(row[4] == 9);
    row += matrix.row(2);
    CHECK(row[0] == 15);

    const T* const place = row.data();
    row.resize(5);
    CHECK(row.data() == place);
    row.resize(7);
    CHECK(row.size() == 7);
    row = ra::RowVector<T>::Constant(3, 2);
    CHECK(row.size() == 3);
    CHECK(row.sum() == 6);
    row = matrix.row(0) + matrix.row(2);
    CHECK(row[4] == 18);

    ra::RowVector<T> copy = row, moved = std::move(row), other = ra::RowVector<T>::Zero(2);
    CHECK(row.size() == 0);
    CHECK(row.rows() == 1);
    CHECK(copy == moved);
    copy[0] = 1;
    CHECK(moved[0] == 10);
    moved.swap(other);
    CHECK(moved.size() == 2);
    CHECK(other[0] == 10);
    other = copy;
    CHECK(other[0] == 1);
    ra::RowVector<T>& alias = other;
    other = alias;
    other = std::move(alias);
    CHECK(other == copy);
    row = copy;
    CHECK(row == copy);
}

TEST_CASE_TEMPLATE("matrix: what it held is taken by the next of its size", T, float, double) {
    const auto run = [] {
        ra::Matrix<T> x = counted<T>(40, 50), y = x + x;
        x = y.transpose();
        ra::RowVector<T> sums = x.colwise().sum();
        CHECK(sums[0] == 2 * (49 * 50 / 2));
    };
    run();
    CHECK(requests_of(run) == 0);
}
