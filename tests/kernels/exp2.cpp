#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include <doctest/doctest.h>

#include <ring_attention/core/floating_point_modes.hpp>
#include <ring_attention/kernels/exp2.hpp>

#include "support/ulps.hpp"

namespace kernels_exp2 {

namespace ra = ring_attention;
namespace detail = ra::detail;
using ra::Index;
using ra::detail::Simd;
using support::infinity;
using support::not_a_number;
using support::ulps;
using support::worst_ulps;

namespace {

template <class T>
T ra_exp2_weight(T x) {
    return detail::exp2_weight(Simd<T>(x)).lanes[0];
}

template <class T>
T ra_exp2_flushed(T x) {
    return detail::exp2_flushed(Simd<T>(x)).lanes[0];
}

}  // namespace

TEST_CASE_TEMPLATE("exp2_weight: over all weights", T, float, double) {
    const auto exact = [](long double x) { return std::exp2(x); };
    const T lowest = std::numeric_limits<T>::min_exponent - 1;
    const double all = worst_ulps<T>(lowest, T(1), ra_exp2_weight<T>, exact);
    const double large = worst_ulps<T>(T(-2), T(1), ra_exp2_weight<T>, exact);
    const double near_one = worst_ulps<T>(T(-1e-3), T(1e-3), ra_exp2_weight<T>, exact);
    const double small = worst_ulps<T>(lowest, lowest + 2, ra_exp2_weight<T>, exact);
    INFO("exp2_weight, ", sizeof(T), " bytes: ", all, " ulp, large ones ", large, " ulp, near one ", near_one,
         " ulp, small ones ", small, " ulp");
    CHECK(all < 2.5);
    CHECK(large < 2.5);
    CHECK(near_one < 2.5);
    CHECK(small < 2.5);
}

TEST_CASE_TEMPLATE("exp2_weight: exact values, and 0 where the result would be subnormal", T, float, double) {
    using Limits = std::numeric_limits<T>;
    const T lowest = Limits::min_exponent - 1;
    CHECK(ra_exp2_weight(T(0)) == 1);
    CHECK(ra_exp2_weight(T(-0.0)) == 1);
    for (T x = lowest; x <= 1; ++x) REQUIRE(ra_exp2_weight(x) == std::exp2(x));
    CHECK(ra_exp2_weight(lowest) == Limits::min());
    for (const T x :
         {lowest - T(1), lowest - T(1.5), lowest * 2, lowest * 100, Limits::lowest(), -infinity<T>}) {
        CAPTURE(x);
        CHECK(ra_exp2_weight(x) == 0);
        CHECK_FALSE(std::signbit(ra_exp2_weight(x)));
    }
    for (T below = T(1) / 64; below < 1; below += T(1) / 64) REQUIRE(ra_exp2_weight(lowest - below) == 0);
    for (T below = 1; below < Limits::max() / 2; below *= T(1.01))
        REQUIRE(ra_exp2_weight(lowest - below) == 0);
    CHECK(std::isnan(ra_exp2_weight(not_a_number<T>)));
    CHECK(std::isnan(ra_exp2_weight(-not_a_number<T>)));
}

TEST_CASE_TEMPLATE("exp2_weight: above 1, as far as weights go", T, float, double) {
    const double above =
        worst_ulps<T>(T(1), T(100), ra_exp2_weight<T>, [](long double x) { return std::exp2(x); });
    INFO("exp2_weight above 1, ", sizeof(T), " bytes: ", above, " ulp");
    CHECK(above < 2.5);
}

TEST_CASE_TEMPLATE("exp2_flushed: the bits of exp2_weight, while subnormal results are 0", T, float, double) {
    const detail::FlushToZero flush_to_zero;
    const T lowest = std::numeric_limits<T>::min_exponent - 1;
    std::mt19937 generator(1);
    std::uniform_real_distribution<T> anywhere(2 * lowest, T(100)), at_lowest(lowest - 2, lowest + 2);
    for (int i = 0; i < 100000; ++i)
        for (const T x : {anywhere(generator), at_lowest(generator)})
            REQUIRE(ra_exp2_flushed(x) == ra_exp2_weight(x));
    for (const T x : {T(0), T(-0.0), T(100), lowest, std::nextafter(lowest, -infinity<T>), lowest * 100,
                      T(-1e9), T(-1e30), std::numeric_limits<T>::lowest(), -infinity<T>,
                      std::numeric_limits<T>::denorm_min(), -std::numeric_limits<T>::denorm_min()}) {
        CAPTURE(x);
        CHECK(ra_exp2_flushed(x) == ra_exp2_weight(x));
        CHECK_FALSE(std::signbit(ra_exp2_flushed(x)));
    }
    CHECK(std::isnan(ra_exp2_flushed(not_a_number<T>)));
}

TEST_CASE_TEMPLATE("exp2_weight: every lane has its own", T, float, double) {
    Simd<T> x(T(0));
    for (int i = 0; i < Simd<T>::width; ++i)
        x.lanes[i] = i % 4 == 1 ? -infinity<T> : i % 4 == 3 ? not_a_number<T> : T(-i) / 3;
    const Simd<T> weights = detail::exp2_weight(x);
    for (int i = 0; i < Simd<T>::width; ++i) {
        const T alone = ra_exp2_weight(T(x.lanes[i]));
        CHECK((weights.lanes[i] == alone || (std::isnan(alone) && std::isnan(weights.lanes[i]))));
    }
}

}  // namespace kernels_exp2
