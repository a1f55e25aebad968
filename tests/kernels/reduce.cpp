#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

#include <ring_attention/kernels/reduce.hpp>

namespace kernels_reduce {

namespace ra = ring_attention;
namespace detail = ra::detail;
using ra::Index;

namespace {

template <class T>
std::vector<T> random_numbers(Index n, unsigned seed) {
    std::vector<T> x;
    std::mt19937 generator(seed);
    std::uniform_real_distribution<T> uniform(-1, 1);
    for (Index i = 0; i < n; ++i) x.push_back(uniform(generator));
    return x;
}

}  // namespace

TEST_CASE_TEMPLATE("reduce: against long double, for every length", T, float, double) {
    for (Index n = 0; n < 300; ++n) {
        const auto x = random_numbers<T>(n, 1), y = random_numbers<T>(n, 2);
        long double total = 0, product = 0;
        T largest = -std::numeric_limits<T>::infinity();
        for (std::size_t i = 0; i < x.size(); ++i) {
            total += x[i];
            product += static_cast<long double>(x[i]) * y[i];
            largest = std::max(largest, x[i]);
        }
        // Both may round each of at most log2(n) + n / 64 additions of numbers below 16 or so.
        const long double bound = 40 * std::numeric_limits<T>::epsilon();
        REQUIRE(std::abs(detail::sum<T>(x.data(), n) - total) <= bound);
        REQUIRE(std::abs(detail::dot<T>(x.data(), y.data(), n) - product) <= bound);
        REQUIRE(detail::maximum<T>(x.data(), n) == largest);
    }
}

TEST_CASE_TEMPLATE("reduce: the bits do not depend on the address, nor on what lies behind", T, float,
                   double) {
    for (Index n = 0; n < 150; ++n) {
        const auto x = random_numbers<T>(n, 3), y = random_numbers<T>(n, 4);
        for (Index shift = 0; shift < 17; ++shift) {
            std::vector<T> moved(std::size_t(n + shift + 1), std::numeric_limits<T>::quiet_NaN());
            std::copy(x.begin(), x.end(), moved.begin() + shift);
            const T* const at = moved.data() + shift;
            REQUIRE(detail::sum<T>(at, n) == detail::sum<T>(x.data(), n));
            REQUIRE(detail::dot<T>(at, y.data(), n) == detail::dot<T>(x.data(), y.data(), n));
            REQUIRE(detail::maximum<T>(at, n) == detail::maximum<T>(x.data(), n));
        }
    }
}

TEST_CASE_TEMPLATE("reduce: the maximum in every place, of negative numbers and of infinities", T, float,
                   double) {
    const T infinity = std::numeric_limits<T>::infinity();
    for (std::size_t n = 1; n < 100; ++n)
        for (std::size_t at = 0; at < n; ++at) {
            std::vector<T> x(n, -infinity);
            CHECK(detail::maximum<T>(x.data(), Index(n)) == -infinity);
            x[at] = T(-3);
            REQUIRE(detail::maximum<T>(x.data(), Index(n)) == -3);
        }
}

TEST_CASE_TEMPLATE("reduce: a number that is not finite is found in every place, and nothing else is", T,
                   float, double) {
    using Limits = std::numeric_limits<T>;
    for (std::size_t n = 0; n < 100; ++n) {
        std::vector<T> x(n, Limits::max());
        for (std::size_t i = 1; i < n; i += 2) x[i] = i % 4 == 1 ? Limits::lowest() : -Limits::denorm_min();
        REQUIRE(detail::all_finite<T>(x.data(), Index(n)));
        for (std::size_t at = 0; at < n; ++at)
            for (const T wild : {Limits::quiet_NaN(), Limits::infinity(), -Limits::infinity()}) {
                const T tame = std::exchange(x[at], wild);
                REQUIRE_FALSE(detail::all_finite<T>(x.data(), Index(n)));
                REQUIRE(detail::all_finite<T>(x.data(), Index(at)));  // what lies behind is not looked at
                x[at] = tame;
            }
    }
}

}  // namespace kernels_reduce
