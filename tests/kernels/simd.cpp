#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include <doctest/doctest.h>

#include <ring_attention/kernels/simd.hpp>

namespace kernels_simd {

namespace ra = ring_attention;
namespace detail = ra::detail;
using ra::Index;
using ra::detail::Simd;

namespace {

template <class T>
constexpr T not_a_number = std::numeric_limits<T>::quiet_NaN();

template <class T>
Simd<T> counted(T first) {
    std::vector<T> x;
    for (int i = 0; i < Simd<T>::width; ++i) x.push_back(first + T(i));
    return Simd<T>::load(x.data());
}

}  // namespace

TEST_CASE_TEMPLATE("simd: memory, from any address", T, float, double) {
    constexpr Index width = Simd<T>::width;
    std::vector<T> from(std::size_t(3 * width));
    for (std::size_t i = 0; i < from.size(); ++i) from[i] = T(i);
    for (Index shift = 0; shift < width; ++shift) {
        std::vector<T> to(std::size_t(3 * width), T(-1));
        Simd<T>::load(from.data() + shift).store(to.data() + shift + 1);
        for (Index i = 0; i < Index(to.size()); ++i) {
            const bool inside = i > shift && i <= shift + width;
            REQUIRE(to[std::size_t(i)] == (inside ? T(i - 1) : T(-1)));
        }
    }
}

TEST_CASE_TEMPLATE("simd: a part of a vector, and nothing after it", T, float, double) {
    constexpr Index width = Simd<T>::width;
    for (Index n = 0; n <= width; ++n) {
        // On the heap and exactly as long, so that a memory checker sees a read past the end.
        std::vector<T> from(std::size_t(n), T(3)), to(std::size_t(width), T(-1));
        const Simd<T> x = detail::load_partial(from.data(), n, T(9));
        for (Index i = 0; i < width; ++i) REQUIRE(x.lanes[i] == (i < n ? 3 : 9));
        store_partial(x, to.data(), n);
        for (Index i = 0; i < width; ++i) REQUIRE(to[std::size_t(i)] == (i < n ? 3 : -1));
    }
}

TEST_CASE_TEMPLATE("simd: arithmetic lane by lane", T, float, double) {
    const Simd<T> a = counted<T>(1), b = counted<T>(-3), two(T(2));
    for (int i = 0; i < Simd<T>::width; ++i) {
        const T x = T(1 + i), y = T(-3 + i);
        CHECK((a + b).lanes[i] == x + y);
        CHECK((a - b).lanes[i] == x - y);
        CHECK((a * b).lanes[i] == x * y);
        CHECK((b / a).lanes[i] == y / x);
        CHECK((-a).lanes[i] == -x);
        CHECK(fma(a, b, two).lanes[i] == x * y + 2);
        CHECK(max(b, two).lanes[i] == std::max(y, T(2)));
        CHECK(min(b, two).lanes[i] == std::min(y, T(2)));
        CHECK(abs(b).lanes[i] == std::abs(y));
        CHECK(detail::select<T>(b < two, a, b).lanes[i] == (y < 2 ? x : y));
        CHECK(detail::select<T>(b > two, a, b).lanes[i] == (y > 2 ? x : y));
    }
}

TEST_CASE_TEMPLATE("simd: of a NaN and a number, max and min give the second", T, float, double) {
    const Simd<T> number(T(1)), bad(not_a_number<T>);
    CHECK(max(bad, number).lanes[0] == 1);
    CHECK(min(bad, number).lanes[0] == 1);
    CHECK(std::isnan(max(number, bad).lanes[0]));
    CHECK(std::isnan(min(number, bad).lanes[0]));
}

TEST_CASE_TEMPLATE("simd: horizontal sum and maximum", T, float, double) {
    constexpr int width = Simd<T>::width;
    CHECK(horizontal_sum(counted<T>(1)) == T(width * (width + 1) / 2));
    CHECK(horizontal_max(counted<T>(-7)) == T(-8 + width));
    for (Index i = 0; i < width; ++i) {
        Simd<T> x(T(-2));
        x.lanes[i] = T(5);
        CHECK(horizontal_max(x) == 5);
        CHECK(horizontal_sum(x) == T(5 - 2 * (width - 1)));
    }
}

}  // namespace kernels_simd
