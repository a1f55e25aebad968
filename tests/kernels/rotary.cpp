#include <cmath>
#include <limits>
#include <vector>

#include <doctest/doctest.h>

#include <ring_attention/kernels/rotary.hpp>

#include "support/compare.hpp"
#include "support/inputs.hpp"

namespace kernels_rotary {

namespace detail = ring_attention::detail;
using detail::Turn;
using ring_attention::Index;

namespace {

/// Pairs, and the angles by which they turn. `guard` numbers stand behind the pairs.
template <class T>
struct Pairs {
    static constexpr std::size_t guard = 3;
    std::vector<T> x, cosine, sine;

    explicit Pairs(std::size_t count) : x(inputs::normal<T>(2 * count + guard, 1)) {
        for (const double angle : inputs::normal<double>(count, 2, 3)) {
            cosine.push_back(T(std::cos(angle)));
            sine.push_back(T(std::sin(angle)));
        }
    }

    std::size_t count() const { return cosine.size(); }

    /// Where the numbers of a pair stand.
    std::pair<std::size_t, std::size_t> places(std::size_t pair, bool halves) const {
        return halves ? std::pair(pair, pair + count()) : std::pair(2 * pair, 2 * pair + 1);
    }

    template <Turn turn>
    std::vector<T> turned(bool halves, std::vector<T> numbers) const {
        const Index pairs = Index(count());
        if (halves)
            detail::turn_halves<turn>(numbers.data(), cosine.data(), sine.data(), pairs);
        else
            detail::turn_neighbours<turn>(numbers.data(), cosine.data(), sine.data(), pairs);
        return numbers;
    }
};

}  // namespace

TEST_CASE_TEMPLATE("rotary kernel: every number of pairs turns as it is defined, and back", T, float,
                   double) {
    constexpr double epsilon = std::numeric_limits<T>::epsilon();
    for (std::size_t count = 0; count < 70; ++count)
        for (const bool halves : {true, false}) {
            CAPTURE(count);
            CAPTURE(halves);
            const Pairs<T> pairs(count);
            std::vector<long double> forward(pairs.x.begin(), pairs.x.end()), back = forward;
            for (std::size_t i = 0; i < count; ++i) {
                const auto places = pairs.places(i, halves);
                const long double a = pairs.x[places.first], b = pairs.x[places.second], c = pairs.cosine[i],
                                  s = pairs.sine[i];
                forward[places.first] = a * c - b * s;
                forward[places.second] = b * c + a * s;
                back[places.first] = a * c + b * s;
                back[places.second] = b * c - a * s;
            }
            // Of numbers below 5, each turned one of two products and a sum. What stands behind is as it was.
            const double bound = count == 0 ? 0 : 10 * epsilon;
            CHECK(compare::largest_difference(pairs.template turned<Turn::forward>(halves, pairs.x),
                                              forward) <= bound);
            CHECK(compare::largest_difference(pairs.template turned<Turn::back>(halves, pairs.x), back) <=
                  bound);
        }
}

TEST_CASE_TEMPLATE("rotary kernel: the bits do not depend on where a pair stands, nor on its neighbours", T,
                   float, double) {
    for (std::size_t count = 1; count < 70; ++count) {
        CAPTURE(count);
        const Pairs<T> pairs(count);
        const auto halves = pairs.template turned<Turn::forward>(true, pairs.x);
        auto apart = pairs.x;
        for (std::size_t i = 0; i < count; ++i) {
            apart[2 * i] = pairs.x[i];
            apart[2 * i + 1] = pairs.x[count + i];
        }
        const auto neighbours = pairs.template turned<Turn::forward>(false, apart);
        for (std::size_t i = 0; i < count; ++i) {
            T alone[] = {pairs.x[i], pairs.x[count + i]};
            detail::turn_halves<Turn::forward>(alone, &pairs.cosine[i], &pairs.sine[i], 1);
            REQUIRE(halves[i] == alone[0]);
            REQUIRE(halves[count + i] == alone[1]);
            REQUIRE(neighbours[2 * i] == alone[0]);
            REQUIRE(neighbours[2 * i + 1] == alone[1]);
        }
    }
}

TEST_CASE_TEMPLATE("rotary kernel: angles are added in double", T, float, double) {
    constexpr double bound =
        3 * std::numeric_limits<double>::epsilon() + std::numeric_limits<T>::epsilon() / 2;
    for (std::size_t count = 0; count < 40; ++count) {
        const auto one = inputs::normal<double>(count, 1, 2), other = inputs::normal<double>(count, 2, 2);
        std::vector<double> numbers[4];
        std::vector<T> cosine(count + 1, T(7)), sine(count + 1, T(8));
        for (std::size_t i = 0; i < count; ++i) {
            numbers[0].push_back(std::cos(one[i]));
            numbers[1].push_back(std::sin(one[i]));
            numbers[2].push_back(std::cos(other[i]));
            numbers[3].push_back(std::sin(other[i]));
        }
        detail::add_angles<T>({numbers[0].data(), numbers[1].data()}, {numbers[2].data(), numbers[3].data()},
                              {cosine.data(), sine.data()}, Index(count));
        for (std::size_t i = 0; i < count; ++i) {
            const long double sum = static_cast<long double>(one[i]) + other[i];
            REQUIRE(std::abs(cosine[i] - std::cos(sum)) <= bound);
            REQUIRE(std::abs(sine[i] - std::sin(sum)) <= bound);
        }
        CHECK(cosine.back() == 7);
        CHECK(sine.back() == 8);
    }
}

}  // namespace kernels_rotary
