#include <string>

#include <doctest/doctest.h>

#include <ring_attention/io/json_file.hpp>

#include "support/temporary_folder.hpp"

namespace io_json_file {

namespace ra = ring_attention;

namespace {

void check_refused(const std::string& text, const std::string& expected) {
    CAPTURE(text.substr(0, 100));
    CHECK_THROWS_WITH_AS(ra::detail::parse_json_object("file", text), doctest::Contains(expected.c_str()),
                         ra::FileError);
}

}  // namespace

TEST_CASE("an object is read from a file") {
    const TemporaryFolder folder;
    write_text(folder / "file", R"({"a": {"x": [1, 2]}, "b": {"x": null}})");
    const auto object = ra::detail::read_json_object(folder / "file");
    CHECK(object.at("a").at("x").at(1) == 2);
    CHECK(object.at("b").at("x").is_null());
    CHECK_THROWS_WITH_AS(ra::detail::read_json_object(folder / "none"),
                         doctest::Contains("none: cannot be opened"), ra::FileError);
    std::filesystem::resize_file(folder / "file", 200'000'000);  // a hole: it takes no room
    CHECK_THROWS_WITH_AS(ra::detail::read_json_object(folder / "file"),
                         doctest::Contains("has 200000000 bytes, expected at most 100000000"), ra::FileError);
}

TEST_CASE("what is no object of JSON is refused") {
    check_refused("", "file: is not valid at its byte 1, expected JSON in UTF-8");
    check_refused("{", "is not valid at its byte");
    check_refused("{}{}", "is not valid at its byte 3");
    check_refused("{\"a\":\"\xFF\"}", "is not valid at its byte");
    check_refused("[1,2]", "file: is [1,2], expected a JSON object");
    check_refused("3", "file: is 3, expected a JSON object");
    check_refused("{\"a\":1e999}", "has a number that is too large");
    check_refused(std::string("{}\0", 3), "has a zero byte at 2");
}

TEST_CASE("a name twice in one object is refused, in two it is not") {
    check_refused(R"({"a": 1, "a": 1})", "file: has the name \"a\" twice in one object, expected once");
    check_refused(R"({"b": {"a": 1, "c": {}, "a": 1}})", "the name \"a\" twice");
    CHECK_NOTHROW(ra::detail::parse_json_object("file", R"({"a": {"a": 1}, "b": [{"a": 1}, {"a": 2}]})"));
}

TEST_CASE("what nests without end is refused") {
    check_refused("{\"a\":" + std::string(100'000, '['), "nests deeper than 64 levels");
    std::string objects;
    for (int i = 0; i < 1000; ++i) objects += "{\"a\":";
    check_refused(objects, "nests deeper than 64 levels");
}

}  // namespace io_json_file
