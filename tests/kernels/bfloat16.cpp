// Rounding to bfloat16 and back, against the definition.

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <type_traits>
#include <vector>

#include <doctest/doctest.h>

#include <ring_attention/kernels/bfloat16.hpp>

#include "support/inputs.hpp"

namespace kernels_bfloat16 {

namespace {

namespace ra = ring_attention;
using ra::Bfloat16;
using ra::Index;

/// By its definition: sign, exponent and 7 bits behind the point.
double value_of(std::uint16_t bits) {
    const int exponent = bits >> 7 & 0xFF, fraction = bits & 0x7F;
    double size = exponent == 0 ? std::ldexp(double(fraction), 1 - 127 - 7)
                                : std::ldexp(double(128 + fraction), exponent - 127 - 7);
    if (exponent == 0xFF)
        size = fraction == 0 ? std::numeric_limits<double>::infinity()
                             : std::numeric_limits<double>::quiet_NaN();
    return bits & 0x8000 ? -size : size;
}

/// The nearest of a number that is no NaN, of two the even one: among the bit patterns of numbers of its sign
/// in rising order, the infinite one counting as the next power of two.
std::uint16_t nearest(long double x) {
    const long double size = std::abs(x);
    const auto size_of = [](std::uint32_t bits) {
        return bits == 0x7F80 ? std::ldexp(1.0L, 128) : (long double)(value_of(std::uint16_t(bits)));
    };
    std::uint32_t low = 0, high = 0x7F80;
    if (size >= size_of(high)) low = high;
    while (high - low > 1) {
        const std::uint32_t middle = (low + high) / 2;
        (size_of(middle) <= size ? low : high) = middle;
    }
    if (low < high) {
        const long double below = size - size_of(low), above = size_of(high) - size;
        if (above < below || (above == below && high % 2 == 0)) low = high;
    }
    return std::uint16_t(low | (std::signbit(x) ? 0x8000u : 0u));
}

template <class T>
std::vector<Bfloat16> rounded(const std::vector<T>& numbers) {
    std::vector<Bfloat16> to(numbers.size());
    ra::detail::round_numbers(numbers.data(), Index(numbers.size()), to.data());
    return to;
}

std::vector<Bfloat16> every_pattern() {
    std::vector<Bfloat16> all;
    for (std::uint32_t bits = 0; bits < 0x10000; ++bits)
        all.push_back(Bfloat16::from_bits(std::uint16_t(bits)));
    return all;
}

template <class T>
std::vector<T> widened(const std::vector<Bfloat16>& numbers) {
    std::vector<T> to(numbers.size());
    ra::detail::widen_numbers(numbers.data(), Index(numbers.size()), to.data());
    return to;
}

/// Together and one by one. Does not stop at the first that is wrong, nor tell of each.
template <class T>
void check_nearest(const std::vector<T>& numbers) {
    const std::vector<Bfloat16> given = rounded(numbers);
    int wrong = 0;
    for (std::size_t i = 0; i < numbers.size(); ++i) {
        wrong += Bfloat16(double(numbers[i])) != given[i] && !std::isnan(numbers[i]);
        if (std::isnan(numbers[i])) {
            wrong += !std::isnan(value_of(given[i].bits));
            continue;
        }
        if (given[i].bits == nearest(numbers[i])) continue;
        if (++wrong <= 3) MESSAGE(double(numbers[i]), " gives ", given[i].bits);
    }
    CHECK(wrong == 0);
}

}  // namespace

TEST_CASE_TEMPLATE("bfloat16: all 65536 patterns widen to what they mean, and round back to themselves", T,
                   float, double) {
    const std::vector<Bfloat16> all = every_pattern();
    const std::vector<T> wide = widened<T>(all);
    const std::vector<Bfloat16> back = rounded(wide);
    int wrong = 0;
    for (std::size_t i = 0; i < all.size(); ++i) {
        const double expected = value_of(all[i].bits);
        wrong += std::bit_cast<std::uint32_t>(float(all[i])) != std::uint32_t(all[i].bits) << 16;
        if (std::isnan(expected))
            wrong += !std::isnan(wide[i]) || !std::isnan(value_of(back[i].bits));
        else
            wrong += double(wide[i]) != expected || std::signbit(wide[i]) != std::signbit(expected) ||
                     !(back[i] == all[i]);
    }
    CHECK(wrong == 0);
}

TEST_CASE_TEMPLATE("bfloat16: a number between two rounds to the nearest, from the middle to the even one", T,
                   float, double) {
    std::vector<T> numbers;
    for (std::uint32_t bits = 0; bits < 0x7F80; ++bits) {
        const double low = value_of(std::uint16_t(bits)),
                     high = bits == 0x7F7F ? std::ldexp(1.0, 128) : value_of(std::uint16_t(bits + 1));
        const T middle = T(low + (high - low) / 2);
        for (const T number : {std::nextafter(middle, T(0)), middle, std::nextafter(middle, T(high))})
            for (const T sign : {T(1), T(-1)}) numbers.push_back(sign * number);
    }
    check_nearest(numbers);
}

TEST_CASE_TEMPLATE("bfloat16: numbers of any bits round to the nearest", T, float, double) {
    using Bits = std::conditional_t<std::is_same_v<T, float>, std::uint32_t, std::uint64_t>;
    inputs::Numbers random(1);
    std::vector<T> numbers;
    for (int i = 0; i < 100'000; ++i) numbers.push_back(std::bit_cast<T>(Bits(random.bits())));
    for (int i = 0; i < 100'000; ++i)  // of the range of a float and around it, whatever T
        numbers.push_back(
            T(std::ldexp(1 + double(random.bits() % 1'000'003) / 1'000'003, int(random.bits() % 300) - 155)));
    using Limits = std::numeric_limits<T>;
    for (const T number : {Limits::infinity(), Limits::max(), Limits::min(), Limits::denorm_min(), T(0),
                           Limits::quiet_NaN(), Limits::signaling_NaN()}) {
        numbers.push_back(number);
        numbers.push_back(-number);
    }
    check_nearest(numbers);
}

TEST_CASE_TEMPLATE("bfloat16: so many numbers are written and no more", T, float, double) {
    for (Index count = 0; count <= 40; ++count) {
        std::vector<T> numbers(std::size_t(count), T(1.5));
        std::vector<Bfloat16> narrow(std::size_t(count) + 1, Bfloat16::from_bits(7));
        ra::detail::round_numbers(numbers.data(), count, narrow.data());
        std::vector<T> wide(std::size_t(count) + 1, T(7));
        ra::detail::widen_numbers(narrow.data(), count, wide.data());
        CAPTURE(count);
        CHECK(narrow.back() == Bfloat16::from_bits(7));
        CHECK(wide.back() == T(7));
        wide.pop_back();
        CHECK(wide == numbers);
    }
}

}  // namespace kernels_bfloat16
