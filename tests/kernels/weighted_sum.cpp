#include <cmath>
#include <limits>

#include <doctest/doctest.h>

#include <ring_attention/kernels/weighted_sum.hpp>

#include "support/compare.hpp"

namespace ra = ring_attention;

TEST_CASE("a row that is not finite reaches only the sums that see it, and changes no bit of the others") {
    constexpr ra::Index m = 9, k = 20, n = 5;
    const ra::Matrix<float> rows = ra::Matrix<float>::Random(k, n);
    ra::Matrix<float> weights = ra::Matrix<float>::Random(m, k);
    const auto seen = [](ra::Index i, ra::Index p) { return p <= 2 * i; };
    for (ra::Index i = 0; i < m; ++i)
        for (ra::Index p = 0; p < k; ++p)
            if (!seen(i, p)) weights(i, p) = 0;
    const ra::Matrix<float> begin = ra::Matrix<float>::Random(m, n);

    ra::Matrix<float> finite = begin;
    ra::add_weighted_rows<float>(ra::view(std::as_const(weights)), ra::view(rows), ra::view(finite), seen);
    CHECK((finite - begin - weights * rows).cwiseAbs().maxCoeff() < 1e-5f);

    for (const float bad :
         {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
        ra::Matrix<float> wild = rows;
        wild(11, 2) = bad;
        ra::Matrix<float> sums = begin;
        ra::add_weighted_rows<float>(ra::view(std::as_const(weights)), ra::view(std::as_const(wild)),
                                     ra::view(sums), seen);
        for (ra::Index i = 0; i < m; ++i) {
            const ra::RowVector<float> row = sums.row(i), before = finite.row(i);
            if (seen(i, 11))
                CHECK_FALSE(std::isfinite(row[2]));
            else
                CHECK(compare::same_bits(row, before));
            CHECK(std::isfinite(row[1]));
        }
    }
}
