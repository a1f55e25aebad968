#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include <doctest/doctest.h>

#include <ring_attention/kernels/vector_math.hpp>

namespace ra = ring_attention;
using ra::Index;
using ra::Simd;

namespace {

template <class T>
T ra_exp(T x) {
    return ra::exp(Simd<T>(x)).lanes[0];
}

template <class T>
T ra_exp2_weight(T x) {
    return ra::exp2_weight(Simd<T>(x)).lanes[0];
}

template <class T>
T ra_erf(T x) {
    return ra::erf(Simd<T>(x)).lanes[0];
}

template <class T>
T ra_tanh(T x) {
    return ra::tanh(Simd<T>(x)).lanes[0];
}

template <class T>
T ra_tanh_derivative(T x) {
    return ra::tanh_derivative(Simd<T>(x)).lanes[0];
}

/// The distance in units of the last place of the exact value; a subnormal one has the spacing of subnormals.
template <class T>
double ulps(T value, long double exact) {
    if (T(exact) == value) return 0;
    int exponent = 0;
    std::frexp(exact, &exponent);
    const int digits = std::numeric_limits<T>::digits, lowest = std::numeric_limits<T>::min_exponent;
    return double(std::abs(value - exact) / std::ldexp(1.0L, std::max(exponent, lowest) - digits));
}

template <class T>
double worst_ulps(T from, T to, auto&& value, auto&& exact) {
    double worst = 0;
    const int steps = 300'000;
    for (int i = 0; i <= steps; ++i) {
        const T x = from + (to - from) * T(i) / T(steps);
        worst = std::max(worst, ulps<T>(value(x), exact(static_cast<long double>(x))));
    }
    return worst;
}

template <class T>
constexpr T infinity = std::numeric_limits<T>::infinity();
template <class T>
constexpr T not_a_number = std::numeric_limits<T>::quiet_NaN();

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

TEST_CASE_TEMPLATE("exp2_weight: every lane has its own", T, float, double) {
    Simd<T> x(T(0));
    for (int i = 0; i < Simd<T>::width; ++i)
        x.lanes[i] = i % 4 == 1 ? -infinity<T> : i % 4 == 3 ? not_a_number<T> : T(-i) / 3;
    const Simd<T> weights = ra::exp2_weight(x);
    for (int i = 0; i < Simd<T>::width; ++i) {
        const T alone = ra_exp2_weight(T(x.lanes[i]));
        CHECK((weights.lanes[i] == alone || (std::isnan(alone) && std::isnan(weights.lanes[i]))));
    }
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

TEST_CASE_TEMPLATE("tanh: everywhere, and relative to its value near 0", T, float, double) {
    const auto exact = [](long double x) { return std::tanh(x); };
    const double far = worst_ulps<T>(T(-25), T(25), ra_tanh<T>, exact);
    const double middle = worst_ulps<T>(T(-2), T(2), ra_tanh<T>, exact);
    const double near = worst_ulps<T>(T(-1e-3), T(1e-3), ra_tanh<T>, exact);
    INFO("tanh, ", sizeof(T), " bytes: ", far, " ulp, up to 2 ", middle, " ulp, near zero ", near, " ulp");
    CHECK(far < 5);
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
        REQUIRE(std::abs(ra_tanh(x)) <= 1);
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
