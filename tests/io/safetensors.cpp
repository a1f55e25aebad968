#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <limits>
#include <map>
#include <string>
#include <sys/stat.h>
#include <vector>

#include <doctest/doctest.h>

#include <ring_attention/io/safetensors.hpp>

#include "support/temporary_folder.hpp"

namespace io_safetensors {

namespace ra = ring_attention;

namespace {

std::string length_text(std::uint64_t length) {
    std::string text(8, '\0');
    std::memcpy(text.data(), &length, 8);
    return text;
}

template <class T>
void check_round_trip(const char* dtype, const std::vector<T>& values) {
    const TemporaryFolder folder;
    const ra::Index size = ra::Index(values.size());
    ra::write_safetensors(folder / "file", {ra::named_tensor("x", {1, size}, values.data())});
    const ra::SafetensorsFile file(folder / "file");
    CHECK(file.entry("x").dtype == dtype);
    CHECK(file.shape("x") == std::vector<ra::Index>{1, size});
    const std::vector<T> read = file.read<T>("x");
    REQUIRE(read.size() == values.size());
    CHECK(std::memcmp(read.data(), values.data(), values.size() * sizeof(T)) == 0);
}

template <class T>
void check_integers(const char* dtype) {
    check_round_trip<T>(dtype, {T(0), T(1), std::numeric_limits<T>::min(), std::numeric_limits<T>::max()});
}

}  // namespace

TEST_CASE("numbers come back to the bit") {
    std::vector<float> floats;
    for (const std::uint32_t bits : {0x00000000u, 0x80000000u, 0x7F800000u, 0xFF800000u, 0x7FC12345u,
                                     0xFFC00001u, 0x7F800001u, 0x00000001u, 0x7F7FFFFFu, 0x3DCCCCCDu})
        floats.push_back(std::bit_cast<float>(bits));
    check_round_trip("F32", floats);
    std::vector<double> doubles;
    for (const std::uint64_t bits :
         {std::uint64_t(0), std::uint64_t(1), 0x8000000000000000u, 0x7FF0000000000000u, 0xFFF0000000000000u,
          0x7FF8000012345678u, 0x7FF0000000000001u, 0x3FB999999999999Au})
        doubles.push_back(std::bit_cast<double>(bits));
    check_round_trip("F64", doubles);
    check_integers<std::uint8_t>("U8");
    check_integers<std::int8_t>("I8");
    check_integers<std::uint16_t>("U16");
    check_integers<std::int16_t>("I16");
    check_integers<std::uint32_t>("U32");
    check_integers<std::int32_t>("I32");
    check_integers<std::uint64_t>("U64");
    check_integers<std::int64_t>("I64");
}

TEST_CASE("a file is laid out as the reference implementation lays it out") {
    const TemporaryFolder folder;
    const std::vector<float> b{1, 2};
    const double a = 0.5;
    const std::vector<std::uint8_t> c{7, 8, 9};
    const std::vector<ra::NamedTensor> tensors{
        ra::named_tensor("c", {3}, c.data()), ra::named_tensor("a", {}, &a),
        ra::named_tensor("\"\xC3\xA4\n", {2, 1}, b.data()), ra::named_tensor("A", {0, 5}, b.data())};
    const ra::Metadata metadata{{"z", "1"}, {"k", "a \"b\""}};
    ra::write_safetensors(folder / "file", tensors, metadata);
    const std::string text = read_text(folder / "file");
    const std::string header =
        R"({"__metadata__":{"k":"a \"b\"","z":"1"},"a":{"dtype":"F64","shape":[],"data_offsets":[0,8]},)"
        "\"\\\"\xC3\xA4\\n\":"
        R"({"dtype":"F32","shape":[2,1],"data_offsets":[8,16]},"A":{"dtype":"F32","shape":[0,5],"data_offsets":[16,16]},)"
        R"("c":{"dtype":"U8","shape":[3],"data_offsets":[16,19]}})";
    const std::string padded = header + std::string((8 - header.size() % 8) % 8, ' ');
    CHECK(text.substr(0, 8) == length_text(padded.size()));
    CHECK(text.substr(8, padded.size()) == padded);
    CHECK(text.size() == 8 + padded.size() + 19);
    CHECK(text.substr(text.size() - 3) == "\7\10\11");

    auto reversed = tensors;
    std::reverse(reversed.begin(), reversed.end());
    ra::write_safetensors(folder / "again", reversed, metadata);
    CHECK(read_text(folder / "again") == text);

    const ra::SafetensorsFile file(folder / "file");
    CHECK(file.metadata() == metadata);
    CHECK(file.names() == std::vector<std::string>{"\"\xC3\xA4\n", "A", "a", "c"});
    CHECK(file.read<float>("\"\xC3\xA4\n") == b);
    CHECK(file.read<float>("A").empty());
    CHECK(file.read<double>("a") == std::vector<double>{0.5});
}

TEST_CASE("the header is padded to a multiple of 8 whatever its length") {
    const TemporaryFolder folder;
    for (std::size_t length = 1; length <= 9; ++length) {
        ra::write_safetensors(folder / "file", {{std::string(length, 'x'), "U8", {0}, {}}});
        CHECK(std::filesystem::file_size(folder / "file") % 8 == 0);
    }
    ra::write_safetensors(folder / "empty", {});
    CHECK(read_text(folder / "empty") == length_text(8) + "{}      ");
}

TEST_CASE("every golden file is read, and its copy holds the same bytes") {
    int count = 0;
    for (const auto& found : std::filesystem::directory_iterator(RING_ATTENTION_GOLDEN_DIR)) {
        if (found.path().extension() != ".safetensors") continue;
        CAPTURE(found.path().string());
        ++count;
        const TemporaryFolder folder;
        const ra::SafetensorsFile file(found.path());
        CHECK(file.metadata().at("case") == found.path().stem().string());
        std::map<std::string, std::vector<std::byte>> contents;
        std::vector<ra::NamedTensor> tensors;
        for (const std::string& name : file.names()) {
            contents[name] = file.read_bytes(name);
            tensors.push_back({name, file.entry(name).dtype, file.shape(name), contents[name]});
        }
        ra::write_safetensors(folder / "copy", tensors, file.metadata());

        const ra::SafetensorsFile copy(folder / "copy");
        CHECK(copy.metadata() == file.metadata());
        CHECK(copy.names() == file.names());
        for (const auto& [name, bytes] : contents) {
            CHECK(copy.read_bytes(name) == bytes);
            copy.require(name, file.entry(name).dtype, file.shape(name));
        }
    }
    CHECK(count >= 7);
}

TEST_CASE("the numbers of a golden file are those that the original computed") {
    const ra::SafetensorsFile file(RING_ATTENTION_GOLDEN_DIR "/h_f64_headdim4.safetensors");
    const std::vector<double> output = file.read<double>("output");
    const std::vector<double> weight = file.read<double>("loss_weight");
    double loss = 0;
    for (std::size_t i = 0; i < output.size(); ++i) loss += output[i] * weight.at(i);
    CHECK(file.read<double>("loss").at(0) == doctest::Approx(loss).epsilon(1e-14));
}

TEST_CASE("tensors are read as what they are, and nothing else") {
    const TemporaryFolder folder;
    const std::vector<float> x{1, 2, 3, 4, 5, 6};
    ra::write_safetensors(folder / "file", {ra::named_tensor("x", {2, 3}, x.data())});
    const ra::SafetensorsFile file(folder / "file");
    CHECK((file.contains("x") && !file.contains("y")));
    CHECK_THROWS_WITH_AS(file.read<double>("x"),
                         doctest::Contains("tensor \"x\" has dtype F32, expected F64"), ra::FileError);
    CHECK_THROWS_WITH_AS(file.read<std::int32_t>("x"), doctest::Contains("dtype F32, expected I32"),
                         ra::FileError);
    CHECK_THROWS_WITH_AS(file.read<float>("y"), doctest::Contains("has no tensor \"y\""), ra::FileError);
    CHECK_THROWS_WITH_AS(file.require("x", "F32", {3, 2}),
                         doctest::Contains("tensor \"x\" has shape [2, 3], expected [3, 2]"), ra::FileError);
    const std::vector<std::byte> halves(4);
    ra::write_safetensors(folder / "half", {{"h", "F16", {2}, halves}});
    CHECK_THROWS_WITH_AS(ra::SafetensorsFile(folder / "half").read<float>("h"),
                         doctest::Contains("dtype F16, expected F32"), ra::FileError);
}

TEST_CASE("a file with dtypes that nobody here uses is read, and only such a tensor refused") {
    const TemporaryFolder folder;
    const float x = 1.5f;
    const std::vector<std::byte> bytes(3, std::byte(7));
    const std::string header = R"({"new":{"dtype":"Q3_K","shape":[9],"data_offsets":[4,7]},)"
                               R"("x":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})";
    std::string text = length_text(header.size()) + header + std::string(4, ' ') + std::string(3, 7);
    std::memcpy(text.data() + 8 + header.size(), &x, 4);
    write_text(folder / "file", text);
    const ra::SafetensorsFile file(folder / "file");
    CHECK(file.read<float>("x") == std::vector<float>{1.5f});
    CHECK(file.read_bytes("new") == bytes);
    CHECK_THROWS_WITH_AS(file.read<float>("new"),
                         doctest::Contains("tensor \"new\" has dtype Q3_K, expected F32"), ra::FileError);
}

TEST_CASE("some of a tensor's bytes are read, and none beyond its end") {
    const TemporaryFolder folder;
    const std::vector<std::uint8_t> x{1, 2, 3, 4}, y{5, 6};
    ra::write_safetensors(folder / "file",
                          {ra::named_tensor("x", {4}, x.data()), ra::named_tensor("y", {2}, y.data())});
    const ra::SafetensorsFile file(folder / "file");
    std::vector<std::byte> two(2);
    file.read_bytes("x", 1, two);
    CHECK(two == std::vector<std::byte>{std::byte(2), std::byte(3)});
    file.read_bytes("x", 2, two);
    CHECK(two == std::vector<std::byte>{std::byte(3), std::byte(4)});
    for (const std::uint64_t first : {std::uint64_t(3), std::uint64_t(5), ~std::uint64_t(0)})
        CHECK_THROWS_WITH_AS(file.read_bytes("x", first, two),
                             doctest::Contains("tensor \"x\" has 4 bytes, expected 2 from byte"),
                             ra::FileError);
}

TEST_CASE("a file is refused at every length but its own") {
    const TemporaryFolder folder;
    CHECK_THROWS_WITH_AS(ra::SafetensorsFile(folder / "none"), doctest::Contains("cannot be opened"),
                         ra::FileError);
    const std::vector<float> x{1, 2, 3};
    const std::uint8_t y = 4;
    ra::write_safetensors(
        folder / "file", {ra::named_tensor("x", {3}, x.data()), ra::named_tensor("y", {}, &y)}, {{"k", "v"}});
    const std::string whole = read_text(folder / "file");
    for (std::size_t length = 0; length < whole.size(); ++length) {
        CAPTURE(length);
        write_text(folder / "file", whole.substr(0, length));
        CHECK_THROWS_AS(ra::SafetensorsFile(folder / "file"), ra::FileError);
    }
    write_text(folder / "file", whole + '\0');
    CHECK_THROWS_WITH_AS(ra::SafetensorsFile(folder / "file"),
                         doctest::Contains("has 14 bytes of data, expected the 13"), ra::FileError);
    write_text(folder / "file", whole);
    CHECK_NOTHROW(ra::SafetensorsFile(folder / "file"));
}

TEST_CASE("a header length that cannot be is refused, and no memory asked for") {
    const TemporaryFolder folder;
    for (const std::uint64_t length : {std::uint64_t(3), std::uint64_t(1) << 40, std::uint64_t(1) << 63,
                                       ~std::uint64_t(0), ~std::uint64_t(0) - 7}) {
        write_text(folder / "file", length_text(length) + "{}");
        CHECK_THROWS_WITH_AS(ra::SafetensorsFile(folder / "file"),
                             doctest::Contains("bytes, expected at most 2 in a file of 10"), ra::FileError);
    }
    write_text(folder / "file", length_text(100'000'001) + "{}");
    std::filesystem::resize_file(folder / "file", 200'000'000);  // a hole: it takes no room
    CHECK_THROWS_WITH_AS(
        ra::SafetensorsFile(folder / "file"),
        doctest::Contains("declares a header of 100000001 bytes, expected at most 100000000"), ra::FileError);
}

TEST_CASE("what no reader would take is not written") {
    const TemporaryFolder folder;
    const std::vector<float> x{1, 2};
    const auto tensor = [&](const std::string& name) { return ra::named_tensor(name, {2}, x.data()); };
    const auto writing = [&](const std::vector<ra::NamedTensor>& tensors, const ra::Metadata& metadata = {}) {
        ra::write_safetensors(folder / "file", tensors, metadata);
    };
    CHECK_THROWS_WITH_AS(writing({tensor("x"), tensor("x")}), doctest::Contains("named \"x\""),
                         ra::FileError);
    CHECK_THROWS_WITH_AS(writing({tensor("__metadata__")}), doctest::Contains("none __metadata__"),
                         ra::FileError);
    CHECK_THROWS_WITH_AS(writing({tensor("\xFF")}), doctest::Contains("expected UTF-8"), ra::FileError);
    CHECK_THROWS_WITH_AS(writing({}, {{"k", "\xC3"}}), doctest::Contains("expected UTF-8"), ra::FileError);
    CHECK_THROWS_WITH_AS(writing({tensor(std::string(17'000'000, '\1'))}),
                         doctest::Contains("expected at most 100000000"), ra::FileError);
    CHECK_THROWS_WITH_AS(writing({{"x", "F32", {3}, std::as_bytes(std::span(x))}}),
                         doctest::Contains("expected 12 bytes for shape [3]"), ra::FileError);
    CHECK_THROWS_WITH_AS(writing({{"x", "F99", {2}, std::as_bytes(std::span(x))}}),
                         doctest::Contains("unknown dtype \"F99\""), ra::FileError);
    CHECK_THROWS_AS(ra::named_tensor("x", {-1, -2}, x.data()), ra::ShapeError);
    CHECK(folder.names().empty());
}

}  // namespace io_safetensors
