#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include <doctest/doctest.h>

#include <ring_attention/training/exact_sum.hpp>

#include "support/inputs.hpp"

namespace {

double sum(const std::vector<double>& numbers) {
    ring_attention::detail::ExactSum total;
    for (const double number : numbers) total.add(number);
    return total.value();
}

}  // namespace

TEST_CASE("exact sum: the same in every order, and no further off than a rounding") {
    auto numbers = inputs::normal<double>(1000, 1, 10);
    numbers.insert(numbers.end(), {0x1p39, -0x1p39, 1e-300, -1e-300, 0.0, -0.0, 1e9 + 0.1});
    long double expected = 0;
    for (const double number : numbers) expected += number;
    const double rising = [&] {
        std::sort(numbers.begin(), numbers.end());
        return sum(numbers);
    }();
    CHECK(std::abs(rising - double(expected)) <= 1e-16 * double(expected));
    CHECK(sum({numbers.rbegin(), numbers.rend()}) == rising);
    std::vector<double> other = numbers;
    std::sort(other.begin(), other.end(), [](double a, double b) { return std::abs(a) < std::abs(b); });
    CHECK(sum(other) == rising);
}

TEST_CASE("exact sum: of what is exact in binary, to the bit") {
    CHECK(sum({}) == 0);
    CHECK(sum({0.75, 0.75, -2.5}) == -1);
    CHECK(sum({-0.25}) == -0.25);
    CHECK(sum({-0x1p-64, 5, -0x1p-64, -5, 0x1p-63}) == 0);
    CHECK(sum(std::vector<double>(10, 0.1)) == doctest::Approx(1).epsilon(1e-16));
}

TEST_CASE("exact sum: what is beyond measure is added as it comes") {
    constexpr double infinity = std::numeric_limits<double>::infinity();
    CHECK(sum({0x1p40, 1}) == 0x1p40 + 1);
    CHECK(sum({1e300, 1, 1e300}) == 2e300);
    CHECK(sum({1, infinity}) == infinity);
    CHECK(sum({1, -infinity}) == -infinity);
    CHECK(std::isnan(sum({infinity, -infinity})));
    CHECK(std::isnan(sum({1, std::nan("")})));
}
