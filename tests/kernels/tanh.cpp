#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include <doctest/doctest.h>

#include <ring_attention/kernels/tanh.hpp>

#include "support/ulps.hpp"

namespace kernels_tanh {

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
T ra_tanh(T x) {
    return detail::tanh(Simd<T>(x)).lanes[0];
}

template <class T>
T ra_tanh_derivative(T x) {
    return detail::tanh_derivative(Simd<T>(x)).lanes[0];
}

}  // namespace

TEST_CASE_TEMPLATE("tanh: everywhere, and relative to its value near 0", T, float, double) {
    const auto exact = [](long double x) { return std::tanh(x); };
    const double far = worst_ulps<T>(T(-25), T(25), ra_tanh<T>, exact);
    const double middle = worst_ulps<T>(T(-2), T(2), ra_tanh<T>, exact);
    const double near = worst_ulps<T>(T(-1e-3), T(1e-3), ra_tanh<T>, exact);
    INFO("tanh, ", sizeof(T), " bytes: ", far, " ulp, up to 2 ", middle, " ulp, near zero ", near, " ulp");
    CHECK(far < 6);  // 5 with fused multiply-adds
    CHECK(middle < 3.5);
    CHECK(near < 3.5);
    for (T x = std::numeric_limits<T>::min() * 4; x < 1; x *= T(1.37))
        REQUIRE(ulps<T>(ra_tanh(x), exact(static_cast<long double>(x))) < 3.5);
}

TEST_CASE_TEMPLATE("tanh: special values, and odd to the bit", T, float, double) {
    CHECK(ra_tanh(T(0)) == 0);
    CHECK_FALSE(std::signbit(ra_tanh(T(0))));
    CHECK(ra_tanh(T(-0.0)) == 0);
    CHECK(std::signbit(ra_tanh(T(-0.0))));
    for (const T x : {T(30), T(1e3), T(1e30), std::numeric_limits<T>::max(), infinity<T>}) {
        CAPTURE(x);
        CHECK(ulps<T>(ra_tanh(x), 1) <= 1);
        CHECK(std::abs(ra_tanh(x)) <= 1);
        CHECK(ra_tanh(-x) == -ra_tanh(x));
    }
    CHECK(std::isnan(ra_tanh(not_a_number<T>)));
    CHECK(std::isnan(ra_tanh(-not_a_number<T>)));
    for (T x = T(1e-3); x < 40; x *= T(1.01)) {
        REQUIRE(ra_tanh(-x) == -ra_tanh(x));
        REQUIRE(std::abs(ra_tanh(x)) <= 1 + 4 * std::numeric_limits<T>::epsilon());
    }
}

TEST_CASE_TEMPLATE("tanh's derivative: relative to its value, also where tanh is all but 1", T, float,
                   double) {
    const auto exact = [](long double x) {
        const long double u = std::exp(-2 * std::abs(x));
        return 4 * u / ((1 + u) * (1 + u));
    };
    // The exponent -2 log2(e) |x| is rounded, which costs in proportion to it.
    const T end = T(sizeof(T) == 4 ? 43 : 350);
    double worst = 0, of_small = 0;
    for (int i = 0; i <= 100'000; ++i)
        for (const T sign : {T(1), T(-1)}) {
            const T x = sign * end * T(i) / T(100'000), small = sign * T(i) / T(100'000);
            const auto relative = [&](T at) {
                const long double value = exact(static_cast<long double>(at));
                return double(std::abs(ra_tanh_derivative(at) - value) / value) /
                       double(std::numeric_limits<T>::epsilon());
            };
            worst = std::max(worst, relative(x) / (4 + 2 * std::abs(double(x))));
            of_small = std::max(of_small, relative(small));
        }
    INFO("tanh derivative, ", sizeof(T), " bytes: ", worst, " of 4 + 2 |x| epsilon, up to 1 ", of_small,
         " epsilon");
    CHECK(worst < 1);
    CHECK(of_small < 4);
}

TEST_CASE_TEMPLATE("tanh's derivative: special values", T, float, double) {
    CHECK(ra_tanh_derivative(T(0)) == 1);
    CHECK(ra_tanh_derivative(T(-0.0)) == 1);
    for (const T x : {T(400), std::numeric_limits<T>::max(), infinity<T>}) {
        CHECK(ra_tanh_derivative(x) == 0);
        CHECK(ra_tanh_derivative(-x) == 0);
    }
    CHECK(std::isnan(ra_tanh_derivative(not_a_number<T>)));
    CHECK(std::isnan(ra_tanh_derivative(-not_a_number<T>)));
}

}  // namespace kernels_tanh
