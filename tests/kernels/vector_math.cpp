#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include <doctest/doctest.h>

#include <ring_attention/kernels/vector_math.hpp>

#include "support/ulps.hpp"

namespace kernels_vector_math {

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
T ra_exp(T x) {
    return detail::exp(Simd<T>(x)).lanes[0];
}

template <class T>
T ra_erf(T x) {
    return detail::erf(Simd<T>(x)).lanes[0];
}

}  // namespace

TEST_CASE("exp: float, over the whole range") {
    const auto exact = [](long double x) { return std::exp(x); };
    const double normal = worst_ulps<float>(-87.33f, 88.72f, ra_exp<float>, exact);
    const double subnormal = worst_ulps<float>(-105, -87.33f, ra_exp<float>, exact);
    INFO("exp float: ", normal, " ulp, subnormal results ", subnormal, " ulp");
    CHECK(normal < 1.5);
    CHECK(subnormal < 1.5);
}

TEST_CASE("exp: double, over the whole range") {
    const auto exact = [](long double x) { return std::exp(x); };
    const double normal = worst_ulps<double>(-708.39, 709.78, ra_exp<double>, exact);
    const double near_zero = worst_ulps<double>(-1, 1, ra_exp<double>, exact);
    const double subnormal = worst_ulps<double>(-746, -708.39, ra_exp<double>, exact);
    INFO("exp double: ", normal, " ulp, near zero ", near_zero, " ulp, subnormal results ", subnormal,
         " ulp");
    CHECK(normal < 1.5);
    CHECK(near_zero < 1.5);
    CHECK(subnormal < 1.5);
}

TEST_CASE_TEMPLATE("exp: special values", T, float, double) {
    CHECK(ra_exp(T(0)) == 1);
    CHECK(ra_exp(T(-0.0)) == 1);
    CHECK(ra_exp(-infinity<T>) == 0);
    CHECK(ra_exp(infinity<T>) == infinity<T>);
    CHECK(std::isnan(ra_exp(not_a_number<T>)));
    CHECK(ra_exp(std::numeric_limits<T>::lowest()) == 0);
    CHECK(ra_exp(std::numeric_limits<T>::max()) == infinity<T>);
    CHECK(ra_exp(T(sizeof(T) == 4 ? -104 : -746)) == 0);
    CHECK(ra_exp(T(sizeof(T) == 4 ? 88.8 : 709.9)) == infinity<T>);
    CHECK(ra_exp(std::numeric_limits<T>::denorm_min()) == 1);
}

TEST_CASE_TEMPLATE("erf: everywhere, and relative to its value near 0", T, float, double) {
    const auto exact = [](long double x) { return std::erf(x); };
    const double far = worst_ulps<T>(T(-7), T(7), ra_erf<T>, exact);
    const double near = worst_ulps<T>(T(-1e-3), T(1e-3), ra_erf<T>, exact);
    INFO("erf, ", sizeof(T), " bytes: ", far, " ulp, near zero ", near, " ulp");
    CHECK(far < 2.5);
    CHECK(near < 2.5);
}

TEST_CASE_TEMPLATE("erf: special values", T, float, double) {
    CHECK(ra_erf(T(0)) == 0);
    CHECK(std::signbit(ra_erf(T(-0.0))));
    CHECK(ra_erf(infinity<T>) == 1);
    CHECK(ra_erf(-infinity<T>) == -1);
    CHECK(ra_erf(std::numeric_limits<T>::max()) == 1);
    CHECK(std::isnan(ra_erf(not_a_number<T>)));
    for (const T x : {T(0.3), T(0.7), T(5)}) CHECK(ra_erf(-x) == -ra_erf(x));
}

}  // namespace kernels_vector_math
