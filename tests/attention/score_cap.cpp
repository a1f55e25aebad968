// The cap in the loop of the softmax: the bits of tanh and of its derivative, whichever way a tile takes.

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <type_traits>
#include <vector>

#include <doctest/doctest.h>

#include <ring_attention/attention/score_cap.hpp>

namespace attention_score_cap {

namespace {

namespace ra = ring_attention;
namespace detail = ra::detail;
using detail::Simd;
using ra::Index;

template <class T>
bool same_bits(T a, T b) {
    using Bits = std::conditional_t<sizeof(T) == 4, std::uint32_t, std::uint64_t>;
    return std::bit_cast<Bits>(a) == std::bit_cast<Bits>(b) || (std::isnan(a) && std::isnan(b));
}

constexpr Index rows = 5;
constexpr int vectors = 2;

/// (rows, vectors * width), and what must not be looked at behind each row.
template <class T>
struct Parts {
    static constexpr Index width = vectors * Simd<T>::width, stride = width + 3;
    std::vector<T> numbers = std::vector<T>(std::size_t(rows * stride), std::numeric_limits<T>::max());

    Parts() {
        for (Index i = 0; i < rows * width; ++i)
            at(i) = T(0.49) * T(std::cos(double(i)));  // below half in size
    }

    T& at(Index i) { return numbers[std::size_t(i / width * stride + i % width)]; }
};

struct Seen {
    bool same = true, small = false;
};

/// Whether all parts and their gradients become what tanh makes of each, and whether none was looked at.
template <class T>
Seen through_cap(Parts<T>& parts) {
    Seen seen;
    detail::visit_cap<vectors>(true, parts.numbers.data(), rows, parts.stride, [&](const auto& cap) {
        seen.small = std::is_same_v<decltype(cap), const detail::CapOfSmall&>;
        for (Index i = 0; i < rows * parts.width; ++i) {
            const Simd<T> part(parts.at(i)), d(T(3)), capped = cap(part);
            seen.same = seen.same && same_bits(capped.lanes[0], detail::tanh(part).lanes[0]) &&
                        same_bits(cap.gradient(part, capped, d).lanes[0],
                                  (d * detail::tanh_derivative(part)).lanes[0]);
        }
    });
    return seen;
}

}  // namespace

TEST_CASE_TEMPLATE("score cap: a part that is not small is found wherever it is", T, float, double) {
    constexpr T infinity = std::numeric_limits<T>::infinity();
    constexpr bool has_small = std::is_same_v<T, float>;
    Parts<T> parts;
    CHECK(through_cap(parts).same);
    CHECK(through_cap(parts).small == has_small);
    for (Index i = 0; i < rows * parts.width; ++i)
        for (const T large : {T(0.5), T(-0.5), T(30), infinity, -infinity,
                              std::numeric_limits<T>::quiet_NaN(), -std::numeric_limits<T>::quiet_NaN()}) {
            Parts<T> some;
            some.at(i) = large;
            const Seen seen = through_cap(some);
            REQUIRE(seen.same);
            REQUIRE_FALSE(seen.small);
        }
}

TEST_CASE_TEMPLATE("score cap: without a cap scores and their gradients stay what they are", T, float,
                   double) {
    Parts<T> parts;
    parts.at(1) = T(7);
    int visits = 0;
    detail::visit_cap<vectors>(false, parts.numbers.data(), rows, parts.stride, [&](const auto& cap) {
        ++visits;
        const Simd<T> score(parts.at(1)), d(T(3));
        CHECK(cap(score).lanes[0] == T(7));
        CHECK(cap.gradient(score, score, d).lanes[0] == T(3));
    });
    CHECK(visits == 1);
}

TEST_CASE_TEMPLATE("score cap: numbers are capped a vector at a time", T, float, double) {
    std::vector<T> numbers(std::size_t(2 * Simd<T>::width));
    for (std::size_t i = 0; i < numbers.size(); ++i) numbers[i] = T(i) / T(4) - T(2);
    std::vector<T> expected = numbers;
    for (T& number : expected) number = detail::tanh(Simd<T>(number)).lanes[0];
    detail::cap_numbers(numbers.data(), Index(numbers.size()));
    CHECK(numbers == expected);
}

}  // namespace attention_score_cap
