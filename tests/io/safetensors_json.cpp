// What a header may say, and the sentence that each fault gets.
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include <ring_attention/io/safetensors.hpp>

#include "support/temporary_folder.hpp"

namespace io_safetensors_json {

namespace ra = ring_attention;

namespace {

std::string file_text(const std::string& header, std::size_t data_size = 0) {
    const std::uint64_t length = header.size();
    std::string text(8, '\0');
    std::memcpy(text.data(), &length, 8);
    return text + header + std::string(data_size, '\1');
}

/// "loaded", or what the file is refused with, without the path at its beginning.
std::string outcome(const std::filesystem::path& path) {
    try {
        const ra::SafetensorsFile file(path);
        for (const std::string& name : file.names()) file.read_bytes(name);
        return "loaded";
    } catch (const ra::FileError& error) {
        const std::string message = error.what();
        const std::string prefix = path.string() + ": ";
        CHECK(message.starts_with(prefix));
        CHECK(message.find('\n') == std::string::npos);
        CHECK(message.size() < prefix.size() + 400);
        return message.substr(prefix.size());
    }
}

std::string outcome(const std::string& header, std::size_t data_size) {
    const TemporaryFolder folder;
    write_text(folder / "file", file_text(header, data_size));
    return outcome(folder / "file");
}

void check_refused(const std::string& header, std::size_t data_size, const std::string& expected) {
    CAPTURE(header);
    const std::string given = outcome(header, data_size);
    CHECK(given.c_str() == doctest::Contains(expected.c_str()));
}

std::string entry(const std::string& dtype, const std::string& shape, const std::string& offsets) {
    return R"({"dtype":)" + dtype + R"(,"shape":)" + shape + R"(,"data_offsets":)" + offsets + "}";
}

std::string tensor_a(const std::string& dtype, const std::string& shape, const std::string& offsets) {
    return R"({"a":)" + entry(dtype, shape, offsets) + "}";
}

const std::string f32 = R"("F32")";

}  // namespace

TEST_CASE("what the format allows is loaded") {
    CHECK(outcome("{}", 0) == "loaded");
    CHECK(outcome("{}      ", 0) == "loaded");
    CHECK(outcome(R"({"__metadata__":{}})", 0) == "loaded");
    CHECK(outcome(tensor_a(f32, "[2]", "[0,8]"), 8) == "loaded");
    CHECK(outcome(tensor_a(f32, "[]", "[0,4]"), 4) == "loaded");
    CHECK(outcome(tensor_a(f32, "[0,9223372036854775807]", "[0,0]"), 0) == "loaded");
    CHECK(outcome(tensor_a(R"("BF16")", "[3]", "[0,6]"), 6) == "loaded");
    CHECK(outcome(tensor_a(R"("F4")", "[3,2]", "[0,3]"), 3) == "loaded");
    CHECK(outcome(tensor_a(R"("F33")", "[1]", "[0,5]"), 5) == "loaded");
    CHECK(outcome(R"({"b":)" + entry(f32, "[1]", "[4,8]") + R"(,"a":)" + entry(f32, "[1]", "[0,4]") +
                      R"(,"empty":)" + entry(f32, "[0]", "[4,4]") + "}",
                  8) == "loaded");
}

TEST_CASE("a header that is not JSON is refused") {
    check_refused("", 0, "the header begins with \"\", expected \"{\"");
    check_refused(" {}", 0, "the header begins with \" \"");
    check_refused("[]", 0, "the header begins with \"[\"");
    check_refused("null", 0, "the header begins with \"n\"");
    check_refused("\xEF\xBB\xBF{}", 0, "the header begins with");
    check_refused("{", 0, "the header is not valid at its byte");
    check_refused("{}{}", 0, "the header is not valid at its byte 3");
    check_refused(R"({"a")", 0, "the header is not valid at its byte");
    check_refused(R"({"a":{},})", 0, "has no dtype");
    check_refused(R"({"__metadata__":{"a":"b",}})", 0, "the header is not valid at its byte");
    check_refused(R"({/**/})", 0, "the header is not valid at its byte");
    check_refused("{\"__metadata__\":{\"a\":\"\xFF\"}}", 0, "the header is not valid at its byte");
    check_refused(R"({"__metadata__":{"a":"\uD800"}})", 0, "the header is not valid at its byte");
    check_refused(tensor_a(f32, "[1e999]", "[0,8]"), 8, "the header is not valid at its byte");
}

TEST_CASE("nothing hides behind a zero byte in the header") {
    check_refused(std::string("{}\0\0", 4), 0, "the header has a zero byte at 2");
    check_refused(std::string("{}\0{\"a\":1}", 10), 0, "the header has a zero byte at 2");
}

TEST_CASE("depth costs nothing") {
    const std::string deep(1'000'000, '[');
    check_refused(R"({"a":)" + deep, 0, "tensor \"a\" is an array, expected an object");
    check_refused(R"({"__metadata__":)" + deep, 0, "__metadata__ is an array, expected an object of strings");
    check_refused(R"({"a":{"shape":)" + deep, 0, "an extent in the shape of tensor \"a\" is an array");
    std::string objects;
    for (int i = 0; i < 100'000; ++i) objects += R"({"a":)";
    check_refused(objects, 0, "tensor \"a\" has a field \"a\", expected dtype, shape and data_offsets");
}

TEST_CASE("a duplicate name is refused") {
    const std::string a = R"("a":)" + entry(f32, "[1]", "[0,4]");
    check_refused("{" + a + "," + a + "}", 4, "the name \"a\" appears twice in the header");
    check_refused(R"({"__metadata__":{},"__metadata__":{}})", 0, "the name \"__metadata__\" appears twice");
    check_refused(R"({"__metadata__":{"k":"1","k":"2"}})", 0, "the name \"k\" appears twice");
    check_refused(R"({"a":{"dtype":"F32","dtype":"F32"}})", 0, "the name \"dtype\" appears twice");
    check_refused(R"({"a":{"shape":[],"shape":[]}})", 0, "the name \"shape\" appears twice");
}

TEST_CASE("a field that is missing, unknown or of the wrong type is refused") {
    check_refused(R"({"a":{}})", 0, "tensor \"a\" has no dtype, expected dtype, shape and data_offsets");
    check_refused(R"({"a":{"dtype":"F32","data_offsets":[0,4]}})", 4, "tensor \"a\" has no shape");
    check_refused(R"({"a":{"dtype":"F32","shape":[1]}})", 4, "tensor \"a\" has no data_offsets");
    check_refused(R"({"a":{"type":"F32"}})", 0, "tensor \"a\" has a field \"type\"");
    // No field is taken from the tensor before.
    check_refused(R"({"a":)" + entry(f32, "[1]", "[0,4]") + R"(,"b":{"dtype":"F32","shape":[1]}})", 4,
                  "tensor \"b\" has no data_offsets");
    for (const char* given : {"null", "true", "3", "\"text\""})
        check_refused(std::string(R"({"a":)") + given + "}", 0, "tensor \"a\" is ");
    for (const char* given : {"null", "false", "3", "-3", "1.5", "{}", "[]"}) {
        check_refused(tensor_a(given, "[1]", "[0,4]"), 4, ", expected ");
        check_refused(std::string(R"({"__metadata__":{"k":)") + given + "}}", 0, "metadata \"k\" is ");
    }
    for (const char* given : {"null", "true", "3", "\"text\"", "[]"})
        check_refused(std::string(R"({"__metadata__":)") + given + "}", 0, "expected an object of strings");
    for (const char* given : {"null", "true", "3", "{}", "\"text\""}) {
        check_refused(tensor_a(f32, given, "[0,4]"), 4, "shape of tensor \"a\" is ");
        check_refused(tensor_a(f32, "[1]", given), 4, "data_offsets of tensor \"a\" is ");
    }
    check_refused(tensor_a("3", "[1]", "[0,4]"), 4, "dtype of tensor \"a\" is 3, expected a string");
}

TEST_CASE("a number that is not whole, or negative, or too large is refused") {
    for (const char* given :
         {"-1", "-0", "1.0", "1e0", "9223372036854775808", "18446744073709551616", "null", "\"1\""})
        check_refused(tensor_a(f32, std::string("[") + given + "]", "[0,4]"), 4,
                      "an extent in the shape of tensor \"a\" is ");
    for (const char* given : {"-1", "0.0", "18446744073709551616", "null", "\"0\"", "[]"})
        check_refused(tensor_a(f32, "[1]", std::string("[") + given + ",4]"), 4,
                      "in the data_offsets of tensor \"a\" is ");
    check_refused(tensor_a(f32, "[1]", "[0,4,5]"), 4,
                  "in the data_offsets of tensor \"a\" is 5, expected two");
    for (const char* given : {"[]", "[4]"})
        check_refused(tensor_a(f32, "[1]", given), 4, "in the data_offsets of tensor \"a\" is ");
}

TEST_CASE("names out of a file are shortened and kept on one line in messages") {
    check_refused(R"({"a\nb\u001b":1})", 0, "tensor \"a?b?\" is 1");
    check_refused("{\"" + std::string(79, 'a') + "\xC3\xA4" + std::string(500, 'a') + "\":1}", 0,
                  "tensor \"" + std::string(79, 'a') + "...\" is 1");
    check_refused(tensor_a(f32, "[" + std::string(200, '1') + "]", "[0,4]"), 4, "111..., expected");
}

TEST_CASE("no flipped bit, changed or lost byte of a header does worse than a FileError") {
    const TemporaryFolder folder;
    const std::string header = R"({"__metadata__":{"k":"v"},"a":)" + entry(f32, "[1,2]", "[0,8]") +
                               R"(,"b":)" + entry(R"("U8")", "[3]", "[8,11]") + "}  ";
    const std::string valid = file_text(header, 11);
    int loaded = 0, refused = 0;
    const auto try_out = [&](const std::string& text) {
        write_text(folder / "file", text);
        ++(outcome(folder / "file") == "loaded" ? loaded : refused);
    };
    for (std::size_t i = 0; i < 8 + header.size(); ++i) {
        for (unsigned bit = 0; bit < 8; ++bit) {
            std::string text = valid;
            text[i] = char(static_cast<unsigned char>(text[i]) ^ (1u << bit));
            try_out(text);
        }
        for (const char c : {'{', '}', '[', ']', '"', ',', ':', '\\', '-', '9', ' ', '\0'}) {
            std::string text = valid;
            text[i] = c;
            try_out(text);
        }
        if (i >= 8) try_out(file_text(std::string(header).erase(i - 8, 1), 11));
    }
    CHECK(loaded > 100);  // a changed letter of a name
    CHECK(refused > 1000);
}

}  // namespace io_safetensors_json
