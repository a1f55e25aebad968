#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include <ring_attention/io/stored_floats.hpp>

#include "support/temporary_folder.hpp"

namespace io_stored_floats {

namespace ra = ring_attention;

namespace {

/// By the definition of the format (IEEE 754-2019, 3.4).
double value_of_half(std::uint16_t half) {
    const int exponent = half >> 10 & 31, mantissa = half & 1023;
    const double sign = half >> 15 ? -1 : 1;
    if (exponent == 31) return mantissa ? std::nan("") : sign * std::numeric_limits<double>::infinity();
    return sign * (exponent == 0 ? std::ldexp(mantissa, -24) : std::ldexp(1024 + mantissa, exponent - 25));
}

bool same(double a, double b) {
    return std::isnan(a) ? std::isnan(b) : a == b && std::signbit(a) == std::signbit(b);
}

template <class T>
std::vector<T> read(const ra::SafetensorsFile& file, const char* name, std::uint64_t first,
                    std::size_t count) {
    std::vector<T> numbers(count);
    ra::detail::read_floats(file, name, first, std::span(numbers));
    return numbers;
}

}  // namespace

TEST_CASE("every number of half precision is itself as float") {
    int wrong = 0;
    for (unsigned bits = 0; bits < 65536; ++bits)
        wrong +=
            !same(double(ra::detail::float_of_half(std::uint16_t(bits))), value_of_half(std::uint16_t(bits)));
    CHECK(wrong == 0);
}

TEST_CASE_TEMPLATE("numbers of each type become those of the model while they are read", T, float, double,
                   ra::Bfloat16) {
    const TemporaryFolder folder;
    constexpr std::size_t size = 100'003;  // several pieces, the last of them not full
    std::vector<std::uint16_t> half(size), upper(size);
    std::vector<float> single(size);
    std::vector<double> twice(size);
    for (std::size_t i = 0; i < size; ++i) {
        half[i] = upper[i] = std::uint16_t(i % 31'000);
        single[i] = float(i) / 3;
        twice[i] = double(i) / 3;
    }
    const auto bytes = [](const auto& numbers) { return std::as_bytes(std::span(numbers)); };
    ra::write_safetensors(folder / "file", {{"half", "F16", {size}, bytes(half)},
                                            {"upper", "BF16", {size}, bytes(upper)},
                                            {"single", "F32", {size}, bytes(single)},
                                            {"twice", "F64", {size}, bytes(twice)}});
    const ra::SafetensorsFile file(folder / "file");
    const auto wrong = [&](const char* name, std::uint64_t first, std::size_t count, auto&& expected) {
        const std::vector<T> numbers = read<T>(file, name, first, count);
        int found = 0;
        for (std::size_t i = 0; i < count; ++i) found += !(numbers[i] == T(expected(first + i)));
        return found;
    };
    for (const auto& [first, count] :
         {std::pair(std::uint64_t(0), size), {7, 50'000}, {size - 1, 1}, {3, 0}}) {
        CHECK(wrong("half", first, count, [&](std::size_t i) { return value_of_half(half[i]); }) == 0);
        CHECK(wrong("upper", first, count,
                    [&](std::size_t i) { return std::bit_cast<float>(std::uint32_t(upper[i]) << 16); }) == 0);
        CHECK(wrong("single", first, count, [&](std::size_t i) { return single[i]; }) == 0);
        CHECK(wrong("twice", first, count, [&](std::size_t i) { return twice[i]; }) == 0);
    }
}

TEST_CASE("numbers of other types are refused by the name of their tensor") {
    const TemporaryFolder folder;
    const std::vector<std::int64_t> x{1, 2};
    ra::write_safetensors(folder / "file", {ra::named_tensor("x", {2}, x.data())});
    CHECK_THROWS_WITH_AS(read<float>(ra::SafetensorsFile(folder / "file"), "x", 0, 2),
                         doctest::Contains("tensor \"x\" has dtype I64, expected F32, F16, BF16 or F64"),
                         ra::FileError);
}

}  // namespace io_stored_floats
