// Sizes that no memory holds, and those whose product or rounding wraps around, end by std::bad_alloc and
// change nothing.

#include <limits>
#include <new>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

#include <ring_attention/core/error.hpp>
#include <ring_attention/core/types.hpp>
#include <ring_attention/kernels/packing.hpp>

#include "support/error_message.hpp"

namespace ra = ring_attention;

namespace {

using ra::Index;

constexpr Index largest = std::numeric_limits<Index>::max();

/// Rows and columns, of a matrix of float.
const std::vector<std::pair<Index, Index>> too_large = {
    {Index(1) << 61, 8},               // 2^64 numbers
    {8, Index(1) << 61},               //
    {Index(1) << 62, 1},               // 2^64 bytes
    {(Index(1) << 60) + 1, 16},        // 16 numbers, wrapped around
    {(Index(1) << 62) + 4, 4},         // and 16
    {largest, largest},                // 1
    {largest, 1},                      //
    {largest / 4, 1},                  // all but three bytes that a ptrdiff_t counts
    {largest / 4 - 16, 1},             // rounded up to the lines of a cache, more
    {Index(1) << 32, Index(1) << 32},  //
    {-1, 1},
    {1, -1},
    {-1, -1},
    {std::numeric_limits<Index>::min(), 2},
};

}  // namespace

TEST_CASE("sizes that overflow: a matrix, made and resized") {
    for (const auto& sizes : too_large) {
        const Index rows = sizes.first, cols = sizes.second;
        CAPTURE(rows);
        CAPTURE(cols);
        CHECK_THROWS_AS(ra::Matrix<float>(rows, cols), std::bad_alloc);
        ra::Matrix<float> matrix = ra::Matrix<float>::Constant(2, 3, 7.0f);
        CHECK_THROWS_AS(matrix.resize(rows, cols), std::bad_alloc);
        CHECK((matrix.rows() == 2 && matrix.cols() == 3 && matrix(1, 2) == 7));
        if (cols != 1) continue;
        CHECK_THROWS_AS(ra::RowVector<float>{rows}, std::bad_alloc);
        ra::RowVector<float> row;
        CHECK_THROWS_AS(row.resize(rows), std::bad_alloc);
        CHECK(row.size() == 0);
    }
}

TEST_CASE("sizes that overflow: a matrix made of and assigned from an expression") {
    for (const auto& sizes : too_large) {
        const Index rows = sizes.first, cols = sizes.second;
        if (rows < 0 || cols < 0) continue;  // Eigen makes no such expression
        CAPTURE(rows);
        CAPTURE(cols);
        const auto zeros = ra::Matrix<float>::Zero(rows, cols);
        CHECK_THROWS_AS(ra::Matrix<float>{zeros}, std::bad_alloc);
        ra::Matrix<float> empty, full = ra::Matrix<float>::Ones(4, 4);
        CHECK_THROWS_AS(empty = zeros, std::bad_alloc);
        CHECK_THROWS_AS(full = zeros, std::bad_alloc);  // of 16 numbers, as some are that wrap around
        CHECK((empty.size() == 0 && full.rows() == 4 && full(3, 3) == 1));
    }
}

TEST_CASE("sizes that overflow: buffers, lists and workspaces") {
    for (const Index size : {largest, largest / 4, largest / 8, Index(1) << 61, (Index(1) << 61) + 1,
                             Index(-1), std::numeric_limits<Index>::min()}) {
        CAPTURE(size);
        CHECK_THROWS_AS(ra::Buffer<double>{size}, std::bad_alloc);
        ra::detail::AlignedBuffer<double> workspace;
        double* const before = workspace.require(10);
        if (size > 0) CHECK_THROWS_AS(workspace.require(size), std::bad_alloc);
        CHECK(workspace.require(10) == before);
        CHECK_THROWS_AS(ra::KeptMemoryAllocator<double>().allocate(std::size_t(size)), std::bad_alloc);
        ra::List<double> list;
        CHECK_THROWS(list.resize(std::size_t(size)));
        CHECK(list.empty());
    }
}

TEST_CASE("sizes that overflow: a shape whose numbers cannot be counted is refused in words") {
    using Shape = std::vector<Index>;
    CHECK_REFUSES(ra::require_countable("x", Shape{Index(1) << 61, 8}),
                  "x has shape [2305843009213693952, 8]");
    CHECK_REFUSES(ra::require_countable("x", Shape{8, 1, largest}), "x has shape");
    CHECK_REFUSES(ra::require_countable("x", Shape{2, -1}), "[2, -1]");
    ra::require_countable("x", Shape{largest, largest, 0});
    ra::require_countable("x", Shape{largest, 1});
}
