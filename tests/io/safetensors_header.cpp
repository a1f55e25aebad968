#include <limits>
#include <string>

#include <doctest/doctest.h>

#include <ring_attention/io/safetensors_header.hpp>

namespace io_safetensors_header {

namespace ra = ring_attention;

namespace {

using Entries = std::vector<std::pair<std::string, ra::SafetensorsEntry>>;

/// "fits", or the message.
doctest::String outcome(const Entries& entries, std::uint64_t data_size) {
    ra::detail::SafetensorsHeader header;
    for (const auto& [name, entry] : entries) header.tensors[name] = entry;
    try {
        ra::detail::check_layout("file", header, data_size);
        return "fits";
    } catch (const ra::FileError& error) {
        return error.what();
    }
}

constexpr ra::Index most = std::numeric_limits<ra::Index>::max();
constexpr std::uint64_t farthest = std::numeric_limits<std::uint64_t>::max();

}  // namespace

TEST_CASE("bytes are counted without overflow") {
    CHECK(ra::detail::byte_count({}, 4) == 4u);
    CHECK(ra::detail::byte_count({2, 3}, 8) == 48u);
    CHECK(ra::detail::byte_count({most}, 1) == std::uint64_t(most));
    CHECK(ra::detail::byte_count({0, most, most}, 8) == 0u);
    CHECK_FALSE(ra::detail::byte_count({most}, 2).has_value());
    CHECK_FALSE(ra::detail::byte_count({most / 4 + 1}, 4).has_value());
    CHECK_FALSE(ra::detail::byte_count({ra::Index(1) << 32, ra::Index(1) << 32}, 1).has_value());
    CHECK_FALSE(ra::detail::byte_count({-1}, 4).has_value());
    CHECK_FALSE(ra::detail::byte_count({-2, -2}, 4).has_value());
}

TEST_CASE("numbers smaller than a byte are counted where they end with one") {
    using ra::detail::byte_count;
    using ra::detail::find_dtype;
    CHECK(byte_count({3, 2}, *find_dtype("F4")) == 3u);
    CHECK(byte_count({12}, *find_dtype("F6_E3M2")) == 9u);
    CHECK(byte_count({12}, *find_dtype("C64")) == 96u);
    CHECK(byte_count({most}, *find_dtype("BOOL")) == std::uint64_t(most));
    CHECK(byte_count({most - 7}, *find_dtype("F6_E3M2")) == std::uint64_t(most) / 8 * 6);
    CHECK_FALSE(byte_count({3}, *find_dtype("F4")).has_value());
    CHECK_FALSE(byte_count({2}, *find_dtype("F6_E2M3")).has_value());
    CHECK_FALSE(byte_count({-2}, *find_dtype("F4")).has_value());
}

TEST_CASE("a tensor of an unknown dtype is as long as it is") {
    CHECK(outcome({{"a", {"F5", {1}, 0, 4}}, {"b", {"F32", {1}, 4, 8}}}, 8) == "fits");
    CHECK(outcome({{"a", {"", {most, most}, 0, 4}}}, 4) == "fits");
    CHECK(outcome({{"a", {"F5", {1}, 0, 5}}}, 4) == doctest::Contains("within the 4 bytes"));
    CHECK(outcome({{"a", {"F5", {1}, 0, 3}}}, 4) ==
          doctest::Contains("expected the 3 that its tensors take"));
}

TEST_CASE("tensors that cover the data fit, in any order and with empty ones between") {
    CHECK(outcome({}, 0) == "fits");
    CHECK(outcome({{"z", {"F32", {2}, 0, 8}}, {"a", {"F64", {1}, 8, 16}}}, 16) == "fits");
    CHECK(outcome({{"z", {"F32", {2}, 0, 8}}, {"a", {"F32", {0}, 8, 8}}, {"b", {"F32", {0}, 0, 0}}}, 8) ==
          "fits");
}

TEST_CASE("offsets that are not those of the shape are refused") {
    CHECK(outcome({{"a", {"F32", {2}, 0, 4}}}, 4) ==
          "file: tensor \"a\" has data_offsets [0, 4], expected 8 bytes for shape [2] of F32");
    CHECK(outcome({{"a", {"F32", {2}, 4, 0}}}, 8) ==
          "file: tensor \"a\" has data_offsets [4, 0], expected an ascending pair within the 8 bytes of data "
          "in the file");
    CHECK(outcome({{"a", {"F32", {2}, 0, 8}}}, 7) == doctest::Contains("within the 7 bytes"));
    CHECK(outcome({{"a", {"F32", {1}, farthest - 3, 0}}}, 4) == doctest::Contains("ascending"));
    CHECK(outcome({{"a", {"F32", {0}, farthest, farthest}}}, 4) == doctest::Contains("ascending"));
    CHECK(outcome({{"a", {"F32", {most, 4}, 0, 4}}}, 4) ==
          doctest::Contains("expected one whose bytes can be counted"));
    CHECK(outcome({{"a", {"F4", {5}, 0, 3}}}, 3) ==
          "file: tensor \"a\" has shape [5] of F4, expected one whose bytes can be counted in 63 bits");
    CHECK(outcome({{"a", {"F6_E2M3", {8}, 0, 5}}}, 5) == doctest::Contains("expected 6 bytes for shape [8]"));
}

TEST_CASE("overlaps, holes and bytes that belong to no tensor are refused") {
    const ra::SafetensorsEntry first{"F32", {2}, 0, 8};
    CHECK(
        outcome({{"a", first}, {"b", {"F32", {2}, 4, 12}}}, 12) ==
        "file: tensor \"b\" begins at byte 4 of the data, expected byte 8, where the tensor before it ends");
    CHECK(outcome({{"a", first}, {"b", first}}, 8) ==
          doctest::Contains("begins at byte 0 of the data, expected byte 8"));
    CHECK(outcome({{"a", first}, {"b", {"F32", {0}, 4, 4}}}, 8) == doctest::Contains("expected byte 8"));
    CHECK(outcome({{"a", first}, {"b", {"F32", {1}, 12, 16}}}, 16) == doctest::Contains("begins at byte 12"));
    CHECK(outcome({{"a", {"F32", {1}, 4, 8}}}, 8) ==
          doctest::Contains("begins at byte 4 of the data, expected byte 0"));
    CHECK(outcome({{"a", first}}, 9) ==
          "file: the file has 9 bytes of data, expected the 8 that its tensors take");
    CHECK(outcome({}, 1) == doctest::Contains("has 1 bytes of data, expected the 0"));
}

}  // namespace io_safetensors_header
