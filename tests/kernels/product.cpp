#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <type_traits>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

#include <ring_attention/core/parallel.hpp>
#include <ring_attention/kernels/product.hpp>

#include "support/instances.hpp"
#include "support/num_threads.hpp"
#include "support/sanitized.hpp"

namespace kernels_product {

namespace ra = ring_attention;
namespace detail = ra::detail;
using ra::Index;
using ra::detail::Into;
using ra::detail::MatrixView;

namespace {

/// How a matrix lies in memory.
enum class Lie { row_major, column_major, padded, spread };

template <class T>
struct Stored {
    std::vector<T> numbers;
    Index rows, cols, row_stride, col_stride;

    Stored(Index rows_, Index cols_, Lie lie = Lie::row_major) : rows(rows_), cols(cols_) {
        row_stride = lie == Lie::column_major ? 1
                     : lie == Lie::padded     ? cols + 3
                     : lie == Lie::spread     ? 2 * cols + 1
                                              : cols;
        col_stride = lie == Lie::column_major ? rows : lie == Lie::spread ? 2 : 1;
        numbers.assign(std::size_t(rows * row_stride + cols * col_stride + 1), T(77));
    }

    MatrixView<T> view() { return {numbers.data(), rows, cols, row_stride, col_stride}; }
    MatrixView<const T> view() const { return {numbers.data(), rows, cols, row_stride, col_stride}; }
};

template <class T>
Stored<T> random_matrix(Index rows, Index cols, unsigned seed, Lie lie = Lie::row_major) {
    Stored<T> matrix(rows, cols, lie);
    std::mt19937 generator(seed);
    std::uniform_real_distribution<T> uniform(-1, 1);
    for (Index i = 0; i < rows; ++i)
        for (Index j = 0; j < cols; ++j) matrix.view()(i, j) = uniform(generator);
    return matrix;
}

template <class T>
auto bits(T number) {
    return std::bit_cast<std::conditional_t<sizeof(T) == 4, std::uint32_t, std::uint64_t>>(number);
}

template <class T>
bool same_bits(MatrixView<const T> x, MatrixView<const T> y) {
    for (Index i = 0; i < x.rows; ++i)
        for (Index j = 0; j < x.cols; ++j)
            if (bits(x(i, j)) != bits(y(i, j))) return false;
    return true;
}

template <class T>
bool all_are(MatrixView<const T> x, T number) {
    for (Index i = 0; i < x.rows; ++i)
        for (Index j = 0; j < x.cols; ++j)
            if (x(i, j) != number) return false;
    return true;
}

/// The largest error of c, in units of what k roundings of numbers below 1 may cost.
template <class T>
double error(MatrixView<const T> a, MatrixView<const T> b, MatrixView<const T> before, MatrixView<const T> c,
             Into into) {
    double worst = 0;
    for (Index i = 0; i < c.rows; ++i)
        for (Index j = 0; j < c.cols; ++j) {
            long double exact = into == Into::add ? before(i, j) : T(0);
            for (Index p = 0; p < a.cols; ++p) exact += static_cast<long double>(a(i, p)) * b(p, j);
            worst = std::max(worst, double(std::abs(exact - c(i, j))));
        }
    return worst / (double(a.cols + 1) * std::numeric_limits<T>::epsilon());
}

template <class T>
using Multiply = void (*)(MatrixView<const T>, MatrixView<const T>, MatrixView<T>, Into);

template <class T>
void check_product(Multiply<T> multiply, Index m, Index n, Index k, Lie a_lie, Lie b_lie, Lie c_lie,
                   Into into) {
    const auto a = random_matrix<T>(m, k, 1, a_lie), b = random_matrix<T>(k, n, 2, b_lie);
    const auto before = random_matrix<T>(m, n, 3, c_lie);
    auto c = before;
    multiply(a.view(), b.view(), c.view(), into);
    CAPTURE(m);
    CAPTURE(n);
    CAPTURE(k);
    CAPTURE(int(a_lie));
    CAPTURE(int(b_lie));
    CAPTURE(int(c_lie));
    CAPTURE(bool(into == Into::add));
    REQUIRE(error<T>(a.view(), b.view(), before.view(), std::as_const(c).view(), into) <= 1);
    // Not a number outside of c was touched.
    auto outside = c;
    for (Index i = 0; i < m; ++i)
        for (Index j = 0; j < n; ++j) outside.view()(i, j) = before.view()(i, j);
    REQUIRE(outside.numbers == before.numbers);
}

constexpr auto lies = {Lie::row_major, Lie::column_major, Lie::padded, Lie::spread};

template <class T>
std::vector<Index> edge_sizes() {
    using Tile = detail::ProductTile<T>;
    return {1,
            2,
            3,
            5,
            7,
            Tile::rows - 1,
            Tile::rows + 1,
            Tile::rows + 2,
            Tile::rows + 10,
            Tile::cols - 1,
            Tile::cols,
            Tile::cols + 1,
            64,
            65,
            100};
}

}  // namespace

TEST_CASE_TEMPLATE("product: every small shape, however the factors lie", T, float, double) {
    // Every shape with every way for a to lie; those of b and c, and Into, take turns with periods that share
    // no factor.
    const auto lie = [](unsigned turn) { return std::data(lies)[turn % lies.size()]; };
    unsigned turn = 0;
    for (const Index k : {1, 2, 3, 31})
        for (const Index m : edge_sizes<T>())
            for (const Index n : edge_sizes<T>())
                for (const Lie a : lies) {
                    ++turn;
                    const Into into = turn % 3 == 0 ? Into::overwrite : Into::add;
                    check_product<T>(detail::multiply<T>, m, n, k, a, lie(turn / 4), lie(turn % 7), into);
                }
}

TEST_CASE_TEMPLATE("product: around the depth of a block", T, float, double) {
    constexpr Index depth = detail::ProductTile<T>::depth;
    unsigned number = 0;
    for (const auto multiply : {Multiply<T>(detail::multiply<T>), Multiply<T>(detail::parallel_multiply<T>)})
        for (const Index k : {depth - 1, depth, depth + 1, 3 * depth + 7})
            for (const Lie lie : lies)
                for (const Into into : {Into::overwrite, Into::add}) {
                    if (!support::takes(number++)) continue;
                    check_product<T>(multiply, 33, 70, k, lie, lie, lie, into);
                    check_product<T>(multiply, 70, 9, k, lie, Lie::row_major, Lie::padded, into);
                }
}

TEST_CASE_TEMPLATE("product: more than one block of rows and columns", T, float, double) {
    using Block = detail::ProductBlock<T>;
    constexpr Index depth = detail::ProductTile<T>::depth;
    constexpr auto rows = Lie::row_major, cols = Lie::column_major;
    for (const Into into : {Into::overwrite, Into::add}) {
        check_product<T>(detail::multiply<T>, 40, Block::cols + Block::tile_cols + 3, 3, rows, rows, rows,
                         into);
        check_product<T>(detail::multiply<T>, 5 * Block::tile_rows + 1, Block::tile_cols + 1, 5, rows, cols,
                         rows, into);
        check_product<T>(detail::parallel_multiply<T>, 9 * Block::tile_rows + 1, Block::tile_cols + 1, 2,
                         cols, rows, rows, into);
        check_product<T>(detail::parallel_multiply<T>, Block::add_rows + 1, 2, depth + 1, cols, rows, rows,
                         into);
        check_product<T>(detail::parallel_multiply<T>, 2, Block::add_cols + 1, depth + 1, rows, rows, rows,
                         into);
    }
}

TEST_CASE_TEMPLATE("product: nothing to sum, nothing to write", T, float, double) {
    for (const auto multiply : {Multiply<T>(detail::multiply<T>), Multiply<T>(detail::parallel_multiply<T>)})
        for (const Into into : {Into::overwrite, Into::add}) {
            check_product<T>(multiply, 5, 6, 0, Lie::row_major, Lie::row_major, Lie::padded, into);
            check_product<T>(multiply, 0, 6, 7, Lie::row_major, Lie::row_major, Lie::row_major, into);
            check_product<T>(multiply, 5, 0, 7, Lie::row_major, Lie::row_major, Lie::row_major, into);
        }
}

TEST_CASE_TEMPLATE("product: an element's bits come from its row and column alone", T, float, double) {
    constexpr Index depth = detail::ProductTile<T>::depth;
    unsigned number = 0;
    for (const Index k : {Index(1), Index(19), 2 * depth + 9})
        for (const Into into : {Into::overwrite, Into::add}) {
            const Index m = 264, n = 300;
            const auto a = random_matrix<T>(m, k, 4), b = random_matrix<T>(k, n, 5),
                       columns = random_matrix<T>(k, n, 5, Lie::column_major),
                       before = random_matrix<T>(m, n, 6);
            auto whole = before;
            detail::multiply<T>(a.view(), b.view(), whole.view(), into);
            for (const Index first : {0, 13, 200})
                for (const Index rows : {1, 2, 15, 64, 150})
                    for (const Index col : {0, 5, 100})
                        for (const Index cols : {1, 16, 50, 190}) {
                            if (first + rows > m || !support::takes(number++)) continue;
                            const auto expected =
                                std::as_const(whole).view().middle_rows(first, rows).middle_cols(col, cols);
                            for (const auto& any_b : {b.view(), columns.view()}) {
                                auto part = before;
                                const auto c = part.view().middle_rows(first, rows).middle_cols(col, cols);
                                detail::multiply<T>(a.view().middle_rows(first, rows),
                                                    any_b.middle_cols(col, cols), c, into);
                                REQUIRE(same_bits<T>(c, expected));
                            }
                        }
        }
}

TEST_CASE_TEMPLATE("product: the same bits from any strides, packing and number of threads", T, float,
                   double) {
    constexpr Index depth = detail::ProductTile<T>::depth;
    const int threads_before = ra::num_threads();
    for (const Index k : {Index(33), depth + 1})
        for (const Into into : {Into::overwrite, Into::add}) {
            const Index m = 460, n = 70;
            const auto a = random_matrix<T>(m, k, 7), b = random_matrix<T>(k, n, 8);
            auto expected = random_matrix<T>(m, n, 9);
            detail::multiply<T>(a.view(), b.view(), expected.view(), into);
            const auto same = [&](Multiply<T> multiply, Lie lie) {
                auto c = random_matrix<T>(m, n, 9, lie);
                multiply(random_matrix<T>(m, k, 7, lie).view(), random_matrix<T>(k, n, 8, lie).view(),
                         c.view(), into);
                return same_bits<T>(c.view(), expected.view());
            };
            for (const Lie lie : lies) {
                CHECK(same(detail::multiply<T>, lie));
            }
            for (const int threads : {1, 2, 3}) {
                ra::set_num_threads(threads);
                for (const Lie lie : lies) CHECK(same(detail::parallel_multiply<T>, lie));
            }
            ra::set_num_threads(threads_before);
        }
}

TEST_CASE_TEMPLATE("product: what follows gets every element once, finished, at its place", T, float,
                   double) {
    using Block = detail::ProductBlock<T>;
    using Tile = detail::ProductTile<T>;
    struct Shape {
        Index m, n, k;
    };
    const Shape shapes[] = {
        {1, 1, 1},
        {1, Block::cols + Tile::cols + 3, 7},           // b is not packed but for its last columns
        {Tile::rows, 5 * Tile::cols, Tile::depth + 9},  // nor here
        {2 * Tile::rows, Tile::cols - 1, 3},            // its only columns fill no panel
        {2 * Tile::rows + 1, 2 * Block::cols + 5, 6},   // three blocks of columns
        {Block::tile_rows + 3, Block::tile_cols + 1, 2 * Tile::depth + 5},
        {13 * Block::tile_rows + 1, Tile::cols + 1, 4},  // more rows than three threads take at once
        {50, Block::cols + 1, Tile::depth + 1},
    };
    const int threads_before = ra::num_threads();
    for (const int threads : {1, 3}) {
        ra::set_num_threads(threads);
        for (const Shape& shape : shapes)
            for (const Lie b_lie : {Lie::row_major, Lie::column_major})
                for (const Lie c_lie : {Lie::row_major, Lie::padded}) {
                    const Index m = shape.m, n = shape.n, k = shape.k;
                    CAPTURE(threads);
                    CAPTURE(m);
                    CAPTURE(n);
                    CAPTURE(k);
                    CAPTURE(int(b_lie));
                    const auto a = random_matrix<T>(m, k, 18), b = random_matrix<T>(k, n, 19, b_lie);
                    Stored<T> expected(m, n), c(m, n, c_lie), seen(m, n), calls(m, n);
                    detail::multiply<T>(a.view(), b.view(), expected.view());
                    for (Index i = 0; i < m; ++i)
                        for (Index j = 0; j < n; ++j) calls.view()(i, j) = 0;
                    detail::parallel_multiply_then<T>(a.view(), b.view(), c.view(),
                                                      [&](MatrixView<T> tile, Index row, Index col) {
                                                          for (Index i = 0; i < tile.rows; ++i)
                                                              for (Index j = 0; j < tile.cols; ++j) {
                                                                  seen.view()(row + i, col + j) = tile(i, j);
                                                                  ++calls.view()(row + i, col + j);
                                                                  tile(i, j) = 5;  // it may be written to
                                                              }
                                                      });
                    REQUIRE(same_bits<T>(seen.view(), expected.view()));
                    REQUIRE(all_are<T>(calls.view(), 1));
                    REQUIRE(all_are<T>(c.view(), 5));
                }
    }
    ra::set_num_threads(threads_before);
}

TEST_CASE_TEMPLATE("product: adding rounds once, after the whole sum", T, float, double) {
    for (const Index k : {Index(40), 2 * detail::ProductTile<T>::depth + 1}) {
        const Index m = 40, n = 70;
        const auto a = random_matrix<T>(m, k, 10), b = random_matrix<T>(k, n, 11),
                   before = random_matrix<T>(m, n, 12);
        Stored<T> product(m, n);
        detail::multiply<T>(a.view(), b.view(), product.view());
        auto c = before;
        detail::multiply<T>(a.view(), b.view(), c.view(), Into::add);
        for (Index i = 0; i < m; ++i)
            for (Index j = 0; j < n; ++j)
                REQUIRE(bits(c.view()(i, j)) == bits<T>(before.view()(i, j) + product.view()(i, j)));
    }
}

TEST_CASE_TEMPLATE("product: a NaN stays in its row, an infinity in its column", T, float, double) {
    const Index m = 45, n = 75;
    for (const Index k : {Index(20), detail::ProductTile<T>::depth + 4})
        for (const Index bad_row : {0, 17, 44})
            for (const Index bad_col : {0, 33, 74}) {
                auto a = random_matrix<T>(m, k, 13), b = random_matrix<T>(k, n, 14);
                Stored<T> clean(m, n), c(m, n);
                detail::multiply<T>(a.view(), std::as_const(b).view(), clean.view());
                a.view()(bad_row, 3) = std::numeric_limits<T>::quiet_NaN();
                b.view()(5, bad_col) = std::numeric_limits<T>::infinity();
                detail::multiply<T>(a.view(), std::as_const(b).view(), c.view());
                for (Index i = 0; i < m; ++i)
                    for (Index j = 0; j < n; ++j)
                        if (i == bad_row)
                            REQUIRE(std::isnan(c.view()(i, j)));
                        else if (j == bad_col)
                            REQUIRE(std::isinf(c.view()(i, j)));
                        else
                            REQUIRE(bits(c.view()(i, j)) == bits(clean.view()(i, j)));
            }
}

TEST_CASE_TEMPLATE("product: a right factor kept as bfloat16 gives the bits of the same, widened", T, float,
                   double) {
    constexpr Index depth = detail::ProductTile<T>::depth, rows = detail::ProductTile<T>::rows;
    const support::NumThreads two(2);
    unsigned number = 0;
    // Few rows and many, of panels that are packed and not, filled and not.
    for (const Index m : {Index(1), Index(2), rows, 2 * rows, 2 * rows + 1, Index(230)})
        for (const Index n : {Index(1), Index(31), Index(330), Index(1100)})
            for (const Index k : {Index(1), Index(33), depth + 1})
                for (const Lie lie : lies) {
                    if (!support::takes(number++)) continue;
                    const auto a = random_matrix<T>(m, k, 7);
                    const auto given = random_matrix<T>(k, n, 8);
                    Stored<ra::Bfloat16> rounded(k, n, lie);
                    Stored<T> widened(k, n, lie);
                    for (Index i = 0; i < k; ++i)
                        for (Index j = 0; j < n; ++j) {
                            rounded.view()(i, j) = ra::Bfloat16(double(given.view()(i, j)));
                            widened.view()(i, j) = T(rounded.view()(i, j));
                        }
                    const auto b = std::as_const(rounded).view();
                    CAPTURE(m);
                    CAPTURE(n);
                    CAPTURE(k);
                    CAPTURE(int(lie));
                    for (const Into into : {Into::overwrite, Into::add}) {
                        auto expected = random_matrix<T>(m, n, 9), c = expected, on_all = c;
                        detail::multiply<T>(a.view(), std::as_const(widened).view(), expected.view(), into);
                        detail::multiply<T>(a.view(), b, c.view(), into);
                        REQUIRE(same_bits<T>(c.view(), expected.view()));
                        detail::parallel_multiply<T>(a.view(), b, on_all.view(), into);
                        REQUIRE(same_bits<T>(on_all.view(), expected.view()));
                    }
                }
}

}  // namespace kernels_product
