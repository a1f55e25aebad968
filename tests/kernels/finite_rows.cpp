#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

#include <ring_attention/kernels/finite_rows.hpp>

#include "support/head_case.hpp"

namespace kernels_finite_rows {

namespace ra = ring_attention;
using ra::Index;
using ra::detail::FiniteRows;
using support::Rows;

namespace {

template <class T>
constexpr T wild[] = {std::numeric_limits<T>::quiet_NaN(), std::numeric_limits<T>::infinity(),
                      -std::numeric_limits<T>::infinity()};

}  // namespace

TEST_CASE_TEMPLATE("finite rows: rows that are all finite are left where they lie", T, float, double) {
    for (const Index gap : {0, 3}) {
        Rows<T> rows = support::normal_rows<T>(7, 5, gap, 1);
        rows(3, 2) = std::numeric_limits<T>::max();
        rows(4, 4) = -std::numeric_limits<T>::max();
        rows(5, 0) = std::numeric_limits<T>::denorm_min();
        for (const ra::IndexRange& whole : {ra::IndexRange{0, 0}, {0, 4}, {0, 7}, {2, 3}, {7, 0}}) {
            const FiniteRows<T> finite(std::as_const(rows).view(), whole);
            CHECK(finite.wild().empty());
            CHECK(finite.rows().data == rows.numbers.data());
            CHECK(finite.rows().row_stride == rows.stride);
            CHECK(finite.rows().rows == 7);
            CHECK(finite.rows().cols == 5);
        }
    }
}

TEST_CASE_TEMPLATE("finite rows: a row that is not finite is wild, and zeros stand in its place", T, float,
                   double) {
    for (const T number : wild<T>)
        for (const Index cols : {1, 4, 9, 37})
            for (const Index gap : {0, 3})
                for (Index bad = 0; bad < 6; ++bad)
                    for (Index first = 0; first <= 6; ++first)
                        for (Index end = first; end <= 6; ++end) {
                            Rows<T> rows = support::normal_rows<T>(6, cols, gap, 1);
                            rows(bad, bad * 7 % cols) = number;
                            rows(5, cols - 1) = number;
                            std::vector<Index> expected;
                            for (const Index row : {bad, Index(5)})
                                if ((row < first || row >= end) &&
                                    (expected.empty() || expected.back() != row))
                                    expected.push_back(row);

                            const FiniteRows<T> finite(std::as_const(rows).view(), {first, end - first});
                            REQUIRE(std::vector<Index>(finite.wild().begin(), finite.wild().end()) ==
                                    expected);
                            for (Index i = 0; i < 6; ++i)
                                for (Index j = 0; j < cols; ++j) {
                                    const bool is_wild =
                                        std::find(expected.begin(), expected.end(), i) != expected.end();
                                    const T given = is_wild ? T(0) : rows(i, j), held = finite.rows()(i, j);
                                    REQUIRE((held == given || (std::isnan(held) && std::isnan(given))));
                                }
                        }
}

}  // namespace kernels_finite_rows
