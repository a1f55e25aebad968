#include <cmath>
#include <limits>
#include <numbers>
#include <vector>

#include <doctest/doctest.h>

#include <ring_attention/kernels/activation.hpp>

#include "support/positions.hpp"
#include "support/ulps.hpp"

namespace kernels_activation {

namespace ra = ring_attention;
using ra::Index;
using support::infinity;
using support::not_a_number;
using support::ulps;
using support::worst_ulps;

namespace {

using Wide = long double;

Wide logistic(Wide v) {
    return v < 0 ? std::exp(v) / (1 + std::exp(v)) : 1 / (1 + std::exp(-v));
}

const Wide slope = 2 * std::sqrt(2 / std::numbers::pi_v<Wide>);

/// Twice the argument of the tanh.
Wide argument(Wide x) {
    return slope * (x + 0.044715L * x * x * x);
}

template <class T>
struct Silu {
    static T value(T x) {
        ra::detail::silu<T>(&x, &x, 1);
        return x;
    }
    static T derivative(T x) {
        T y = 1;
        ra::detail::silu_backward<T>(&x, &y, &y, 1);
        return y;
    }
    static Wide exact(Wide x) { return x * logistic(x); }
    static Wide exact_derivative(Wide x) { return logistic(x) * (1 + x * logistic(-x)); }
};

template <class T>
struct GeluTanh {
    static T value(T x) {
        ra::detail::gelu_tanh<T>(&x, &x, 1);
        return x;
    }
    static T derivative(T x) {
        T y = 1;
        ra::detail::gelu_tanh_backward<T>(&x, &y, &y, 1);
        return y;
    }
    static Wide exact(Wide x) { return x * logistic(argument(x)); }
    static Wide exact_derivative(Wide x) {
        const Wide growth = x * slope * (1 + 3 * 0.044715L * x * x);
        return logistic(argument(x)) * (1 + growth * logistic(-argument(x)));
    }
};

/// Beside the smallest numbers: down to where the result is 0.
template <class Function, class T>
void check_special_values() {
    const T huge = std::numeric_limits<T>::max();
    CHECK(Function::value(0) == 0);
    CHECK_FALSE(std::signbit(Function::value(T(0))));
    CHECK(std::signbit(Function::value(T(-0.0))));
    CHECK(Function::derivative(0) == T(0.5));
    for (const T far : {T(1000), T(1e30), huge, infinity<T>}) {
        CAPTURE(far);
        CHECK(Function::value(far) == far);
        CHECK(Function::value(-far) == 0);
        CHECK(Function::derivative(far) == 1);
        CHECK(Function::derivative(-far) == 0);
    }
    CHECK(std::isnan(Function::value(not_a_number<T>)));
    CHECK(std::isnan(Function::value(-not_a_number<T>)));
    CHECK(std::isnan(Function::derivative(not_a_number<T>)));
    for (T x = std::numeric_limits<T>::denorm_min(); x < T(1e-3); x *= 3)
        for (const T sign : {T(1), T(-1)}) {
            REQUIRE(ulps<T>(Function::value(sign * x), Function::exact(sign * x)) < 3);
            REQUIRE(ulps<T>(Function::derivative(sign * x), Function::exact_derivative(sign * x)) < 3);
        }
}

}  // namespace

TEST_CASE_TEMPLATE("silu: within 3 ulp everywhere, subnormal results too", T, float, double) {
    const T end = sizeof(T) == 4 ? T(110) : T(755);
    const double worst = worst_ulps<T>(-end, end, Silu<T>::value, Silu<T>::exact),
                 near = worst_ulps<T>(T(-3), T(3), Silu<T>::value, Silu<T>::exact);
    INFO("silu, ", sizeof(T), " bytes: ", worst, " ulp, up to 3 ", near, " ulp");
    CHECK(worst < 3);
    CHECK(near < 3);
    check_special_values<Silu<T>, T>();
}

TEST_CASE_TEMPLATE("silu's derivative: relative to its value, but for its zero at -1.28", T, float, double) {
    const T end = sizeof(T) == 4 ? T(110) : T(755);
    const auto value = Silu<T>::derivative;
    const auto exact = Silu<T>::exact_derivative;
    const double right = worst_ulps<T>(T(-0.5), end, value, exact),
                 left = worst_ulps<T>(-end, T(-2), value, exact);
    double middle = 0;
    for (T x = -2; x < T(-0.5); x += T(1e-5))
        middle = std::max(middle,
                          double(std::abs(value(x) - exact(x))) / double(std::numeric_limits<T>::epsilon()));
    INFO("silu's derivative, ", sizeof(T), " bytes: ", right, " ulp from -0.5, ", left, " ulp up to -2, ",
         middle, " epsilon between");
    CHECK(right < 4);
    CHECK(left < 7);
    CHECK(middle < 1);
}

TEST_CASE_TEMPLATE("gelu by tanh: in proportion to the argument of its exponential", T, float, double) {
    const double unit = double(std::numeric_limits<T>::epsilon());
    const T end = sizeof(T) == 4 ? T(10.5) : T(21);  // beyond, results are subnormal
    double worst = 0, derivative = 0, right = 0;
    for (int i = -200'000; i <= 200'000; ++i) {
        const T x = end * T(i) / T(200'000);
        const Wide exact = GeluTanh<T>::exact(x), exact_derivative = GeluTanh<T>::exact_derivative(x);
        const double allowed = 4 + 2.5 * std::abs(std::min(double(argument(x)), 0.0));
        worst = std::max(worst, ulps<T>(GeluTanh<T>::value(x), exact) / allowed);
        const double error = double(std::abs(GeluTanh<T>::derivative(x) - exact_derivative)) / unit;
        derivative = std::max(derivative, error);
        if (x < -2) right = std::max(right, error / double(std::abs(exact_derivative)) / (2 * allowed));
    }
    INFO("gelu by tanh, ", sizeof(T), " bytes: ", worst, " of 4 + 2.5 |v| ulp, derivative ", derivative,
         " epsilon, in the tail ", right, " of 8 + 5 |v|");
    CHECK(worst < 1);
    CHECK(derivative < 4);
    CHECK(right < 1);
    check_special_values<GeluTanh<T>, T>();
}

TEST_CASE_TEMPLATE("relu: the numbers above 0, NaN stays", T, float, double) {
    const std::vector<T> x{
        -1, T(-0.0), 0, 2, infinity<T>, -infinity<T>, not_a_number<T>, std::numeric_limits<T>::denorm_min()};
    std::vector<T> y(x.size()), dx(x.size(), infinity<T>);
    ra::detail::relu<T>(x.data(), y.data(), Index(x.size()));
    ra::detail::relu_backward<T>(x.data(), dx.data(), dx.data(), Index(x.size()));
    for (const std::size_t i : {0u, 1u, 2u, 5u}) CHECK((y[i] == 0 && dx[i] == 0));
    for (const std::size_t i : {3u, 4u, 7u}) CHECK((y[i] == x[i] && dx[i] == infinity<T>));
    CHECK((std::isnan(y[6]) && std::isnan(dx[6])));
}

TEST_CASE_TEMPLATE("soft cap: cap tanh(x / cap) and its derivative", T, float, double) {
    for (const T cap : {T(30), T(0.5)}) {
        const auto value = [cap](T x) {
            ra::detail::soft_cap<T>(&x, cap, &x, 1);
            return x;
        };
        const auto derivative = [cap](T x) {
            T y = 1;
            ra::detail::soft_cap_backward<T>(&x, cap, &y, &y, 1);
            return y;
        };
        const auto exact_derivative = [cap](Wide x) {
            const Wide u = std::exp(-2 * std::abs(x / cap));
            return 4 * u / ((1 + u) * (1 + u));
        };
        CHECK(worst_ulps<T>(-20 * cap, 20 * cap, value, [cap](Wide x) { return cap * std::tanh(x / cap); }) <
              8);
        CHECK(worst_ulps<T>(-cap, cap, derivative, exact_derivative) < 8);
        CHECK((value(infinity<T>) <= cap && value(infinity<T>) > cap * T(0.999999)));
        CHECK((value(-infinity<T>) >= -cap && derivative(-infinity<T>) == 0));
        CHECK((std::isnan(value(not_a_number<T>)) && std::isnan(derivative(not_a_number<T>))));
        CHECK((value(0) == 0 && derivative(0) == 1));
    }
}

TEST_CASE_TEMPLATE("activations: equal numbers give equal bits wherever they stand", T, float, double) {
    namespace kernels = ra::detail;
    support::check_positions<T>([](const T* x, T* y, Index n) { kernels::silu<T>(x, y, n); });
    support::check_positions<T>([](const T* x, T* y, Index n) { kernels::silu_backward<T>(x, x, y, n); });
    support::check_positions<T>([](const T* x, T* y, Index n) { kernels::gelu_tanh<T>(x, y, n); });
    support::check_positions<T>(
        [](const T* x, T* y, Index n) { kernels::gelu_tanh_backward<T>(x, x, y, n); });
    support::check_positions<T>([](const T* x, T* y, Index n) { kernels::relu<T>(x, y, n); });
    support::check_positions<T>([](const T* x, T* y, Index n) { kernels::relu_backward<T>(x, x, y, n); });
    support::check_positions<T>([](const T* x, T* y, Index n) { kernels::soft_cap<T>(x, T(3), y, n); });
    support::check_positions<T>(
        [](const T* x, T* y, Index n) { kernels::soft_cap_backward<T>(x, T(3), x, y, n); });
}

}  // namespace kernels_activation
