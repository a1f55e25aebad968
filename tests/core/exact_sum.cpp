#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include <doctest/doctest.h>

#include <ring_attention/core/exact_sum.hpp>

namespace ra = ring_attention;

namespace {

ra::ExactSum sum_of(const std::vector<double>& numbers) {
    ra::ExactSum sum;
    for (const double number : numbers) sum.add(number);
    return sum;
}

}  // namespace

TEST_CASE("exact sum: no order and no grouping changes a bit") {
    std::mt19937 random(1);
    std::vector<double> numbers;
    for (int i = 0; i < 2000; ++i)
        numbers.push_back(
            std::ldexp(std::uniform_real_distribution(-1.0, 1.0)(random), int(random() % 40) - 20));
    const double sum = sum_of(numbers).value();
    for (int round = 0; round < 20; ++round) {
        std::shuffle(numbers.begin(), numbers.end(), random);
        CHECK(sum_of(numbers).value() == sum);
        const auto middle = numbers.begin() + std::ptrdiff_t(random() % numbers.size());
        ra::ExactSum first = sum_of({numbers.begin(), middle});
        first.add(sum_of({middle, numbers.end()}));
        CHECK(first.value() == sum);
    }
}

TEST_CASE("exact sum: it is the sum") {
    CHECK(ra::ExactSum().value() == 0);
    CHECK(sum_of({1.5, 2.25, -4}).value() == -0.25);
    CHECK(sum_of({-0x1p-60}).value() == -0x1p-60);
    CHECK(sum_of({0x1p31, 0x1p-20, -0x1p31}).value() == 0x1p-20);
    CHECK(sum_of(std::vector<double>(1000000, 0.1)).value() == doctest::Approx(100000).epsilon(1e-15));
    CHECK(sum_of(std::vector<double>(100, -5.545)).value() == doctest::Approx(-554.5).epsilon(1e-15));
}

TEST_CASE(
    "exact sum: what is infinite or far too large makes it infinite, at whichever place, and a NaN or both "
    "signs a NaN") {
    constexpr double infinity = std::numeric_limits<double>::infinity(),
                     not_a_number = std::numeric_limits<double>::quiet_NaN();
    for (const double number : {infinity, 1e300, 0x1p32}) {
        CHECK(sum_of({1, number, 2}).value() == infinity);
        CHECK(sum_of({1, -number, 2}).value() == -infinity);
        CHECK(std::isnan(sum_of({-number, 1, number}).value()));
        ra::ExactSum sum = sum_of({1});
        sum.add(sum_of({-number}));
        CHECK(sum.value() == -infinity);
        sum.add(sum_of({number}));
        CHECK(std::isnan(sum.value()));
    }
    CHECK(std::isnan(sum_of({1, not_a_number}).value()));
    CHECK(std::isnan(sum_of({not_a_number, infinity}).value()));
}
