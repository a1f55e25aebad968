#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <numbers>
#include <random>
#include <type_traits>
#include <vector>

#include <doctest/doctest.h>

#include <ring_attention/kernels/elementwise.hpp>

#include "support/positions.hpp"

namespace kernels_elementwise {

namespace ra = ring_attention;
namespace detail = ra::detail;
using ra::Index;

namespace {

long double exact_gelu(long double x) {
    return x / 2 * std::erfc(-x / std::numbers::sqrt2_v<long double>);
}

long double exact_gelu_derivative(long double x) {
    const long double density = std::exp(-x * x / 2) / std::sqrt(2 * std::numbers::pi_v<long double>);
    return std::erfc(-x / std::numbers::sqrt2_v<long double>) / 2 + x * density;
}

template <class T>
std::vector<T> steps(T from, T to, int count) {
    std::vector<T> x;
    for (int i = 0; i <= count; ++i) x.push_back(from + (to - from) * T(i) / T(count));
    return x;
}

template <class T>
auto bits(T number) {
    return std::bit_cast<std::conditional_t<sizeof(T) == 4, std::uint32_t, std::uint64_t>>(number);
}

/// Whether fma rounds once: (1 + e) (1 - e) - 1 is -e^2, which is lost where the product is rounded first.
template <class T>
bool has_fma() {
    const detail::Simd<T> e(std::numeric_limits<T>::epsilon()), one(T(1));
    return fma(one + e, one - e, -one).lanes[0] != 0;
}

}  // namespace

TEST_CASE_TEMPLATE("gelu: absolute and relative error", T, float, double) {
    const std::vector<T> x = steps<T>(T(-12), T(12), 100'000);
    std::vector<T> y(x.size()), dx(x.size()), ones(x.size(), T(1));
    detail::gelu<T>(x.data(), y.data(), Index(x.size()));
    detail::gelu_backward<T>(x.data(), ones.data(), dx.data(), Index(x.size()));
    double absolute = 0, relative = 0, derivative = 0;
    for (std::size_t i = 0; i < x.size(); ++i) {
        const long double exact = exact_gelu(x[i]);
        const double error = double(std::abs(y[i] - exact));
        absolute = std::max(absolute, error / std::max(1.0, double(std::abs(x[i]))));
        if (exact != 0) relative = std::max(relative, error / double(std::abs(exact)));
        derivative = std::max(derivative, double(std::abs(dx[i] - exact_gelu_derivative(x[i]))));
    }
    const double unit = std::numeric_limits<T>::epsilon();
    INFO(sizeof(T), " bytes, in epsilons: error ", absolute / unit, ", relative ", relative / unit,
         ", derivative ", derivative / unit);
    CHECK(absolute < 2 * unit);
    // Without fused operations the rounding of x^2 comes through the exponential.
    CHECK(relative < (has_fma<T>() ? 6 : 90) * unit);
    CHECK(derivative < 3 * unit);
}

TEST_CASE_TEMPLATE("gelu: far out and not a number", T, float, double) {
    const T huge = std::numeric_limits<T>::max(), infinity = std::numeric_limits<T>::infinity();
    std::vector<T> x{huge, -huge, infinity, std::numeric_limits<T>::quiet_NaN(), 0, -100, 100}, y(7), dx(7),
        ones(7, T(1));
    detail::gelu<T>(x.data(), y.data(), 7);
    detail::gelu_backward<T>(x.data(), ones.data(), dx.data(), 7);
    CHECK(y[0] == huge);
    CHECK(y[1] == 0);
    CHECK(y[2] == infinity);
    CHECK(std::isnan(y[3]));
    CHECK(y[4] == 0);
    CHECK(y[5] == 0);
    CHECK(y[6] == 100);
    CHECK(dx[0] == 1);
    CHECK(dx[1] == 0);
    CHECK(std::isnan(dx[3]));
    CHECK(dx[4] == T(0.5));
    CHECK(dx[5] == 0);
    CHECK(dx[6] == 1);
}

TEST_CASE_TEMPLATE("gelu_backward: scales with dy, also in place", T, float, double) {
    std::vector<T> x = steps<T>(T(-3), T(3), 36), slope(x.size()), dy(x.size(), T(1)),
                   in_place(x.size(), T(-4));
    detail::gelu_backward<T>(x.data(), dy.data(), slope.data(), Index(x.size()));
    detail::gelu_backward<T>(x.data(), in_place.data(), in_place.data(), Index(x.size()));
    for (std::size_t i = 0; i < x.size(); ++i) CHECK(in_place[i] == -4 * slope[i]);
}

TEST_CASE_TEMPLATE("equal numbers give equal bits wherever they stand", T, float, double) {
    support::check_positions<T>([](const T* x, T* y, Index n) { detail::gelu<T>(x, y, n); });
    support::check_positions<T>([](const T* x, T* y, Index n) { detail::gelu_backward<T>(x, x, y, n); });
    support::check_positions<T>([](const T* x, T* y, Index n) { detail::exp_shifted<T>(x, T(0.3), y, n); });
}

TEST_CASE_TEMPLATE("exp_shifted: values, their sum, in place", T, float, double) {
    const T infinity = std::numeric_limits<T>::infinity();
    for (const Index n : {0, 1, 2, 7, 16, 31, 64, 100, 1000}) {
        std::vector<T> x(std::size_t(n), -infinity), y(x.size());
        for (std::size_t i = 0; i < x.size(); i += 2) x[i] = T(2) - T(i) / T(20);
        const T total = detail::exp_shifted<T>(x.data(), T(2), y.data(), n);
        long double exact = 0;
        for (std::size_t i = 0; i < x.size(); ++i) {
            exact += y[i];
            if (i % 2 == 1)
                REQUIRE(y[i] == 0);
            else
                REQUIRE(std::abs(y[i] - std::exp(static_cast<long double>(x[i]) - 2)) <=
                        2 * std::numeric_limits<T>::epsilon());
        }
        CHECK(std::abs(total - exact) <= 4 * std::numeric_limits<T>::epsilon() * exact);
        CHECK(bits(detail::exp_shifted<T>(x.data(), T(2), x.data(), n)) == bits(total));
        for (std::size_t i = 0; i < x.size(); ++i) REQUIRE(x[i] == y[i]);
    }
}

}  // namespace kernels_elementwise
