#include <filesystem>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include <ring_attention/io/published_folder.hpp>

#include "support/temporary_folder.hpp"

namespace io_published_folder {

namespace ra = ring_attention;

namespace {

void write_tensors(const std::filesystem::path& path, const std::vector<std::string>& names) {
    static const float x = 1;
    std::vector<ra::NamedTensor> tensors;
    for (const std::string& name : names) tensors.push_back(ra::named_tensor(name, {1}, &x));
    ra::write_safetensors(path, tensors);
}

/// A folder of two shards.
struct Shards : TemporaryFolder {
    Shards() {
        write_tensors(*this / "one.safetensors", {"a", "b"});
        write_tensors(*this / "two.safetensors", {"c"});
        index(R"({"weight_map": {"a": "one.safetensors", "b": "one.safetensors", "c": "two.safetensors"}})");
    }
    void index(const std::string& text) { write_text(*this / "model.safetensors.index.json", text); }
};

void check_refused(const std::filesystem::path& folder, const std::string& expected) {
    CHECK_THROWS_WITH_AS(ra::detail::PublishedFolder{folder}, doctest::Contains(expected.c_str()),
                         ra::FileError);
}

}  // namespace

TEST_CASE("the tensors of one file are found, and no index is asked for") {
    const TemporaryFolder folder;
    write_tensors(folder / "model.safetensors", {"a", "b"});
    write_text(folder / "model.safetensors.index.json", "of another time");
    const ra::detail::PublishedFolder published(folder.path());
    CHECK(published.tensors().size() == 2);
    CHECK(published.tensors().at("b")->path() == folder / "model.safetensors");
}

TEST_CASE("the tensors of all shards are found") {
    const Shards shards;
    const ra::detail::PublishedFolder published(shards.path());
    CHECK(published.tensors().size() == 3);
    CHECK(published.tensors().at("a") == published.tensors().at("b"));
    CHECK(published.tensors().at("c")->path() == shards / "two.safetensors");
}

TEST_CASE("a shard may be a link to elsewhere, lie in a folder below and hold more than the index says") {
    const TemporaryFolder elsewhere;
    const Shards shards;
    write_tensors(elsewhere / "blob", {"a", "more"});
    std::filesystem::remove(shards / "one.safetensors");
    std::filesystem::create_symlink(elsewhere / "blob", shards / "one.safetensors");
    std::filesystem::create_directory(shards / "below");
    write_tensors(shards / "below/two.safetensors", {"c"});
    write_text(shards / "model.safetensors.index.json",
               R"({"weight_map": {"a": "one.safetensors", "c": "below/two.safetensors"}})");
    CHECK(ra::detail::PublishedFolder(shards.path()).tensors().size() == 3);
}

TEST_CASE("an index that names files outside the folder is refused") {
    Shards shards;
    const std::filesystem::path outside =
        shards.path().parent_path() / (shards.path().filename().string() + "-x");
    write_tensors(outside, {"a"});
    for (const std::string& name :
         {"../" + outside.filename().string(), outside.string(), "below/../../" + outside.filename().string(),
          std::string(".."), std::string("."), std::string(""), std::string("./one.safetensors"),
          std::string("below/")}) {
        CAPTURE(name);
        shards.index(R"({"weight_map": {"a": ")" + name + R"("}})");
        check_refused(shards.path(), "model.safetensors.index.json: says that tensor \"a\" is in \"" + name +
                                         "\", expected a file within the folder");
    }
    std::filesystem::remove(outside);
}

TEST_CASE("a broken index is refused") {
    Shards shards;
    const auto check = [&](const std::string& text, const std::string& expected) {
        shards.index(text);
        check_refused(shards.path(), "model.safetensors.index.json: " + expected);
    };
    check("", "is not valid at its byte");
    check("[]", "is [], expected a JSON object");
    check("{}", "has no weight_map, expected an object of file names");
    check(R"({"weight_map": ["a"]})", "the weight_map is [\"a\"], expected an object");
    check(R"({"weight_map": {"a": 1}})", "says that tensor \"a\" is in 1, expected a file name");
    check(R"({"weight_map": {"a": "one.safetensors", "a": "two.safetensors"}})", "has the name \"a\" twice");
    check(R"({"weight_map": {"a": "three.safetensors"}})",
          "says that tensor \"a\" is in \"three.safetensors\", which is not there");
    check(R"({"weight_map": {"a": "two.safetensors"}})",
          "says that tensor \"a\" is in \"two.safetensors\", which has no such tensor");
}

TEST_CASE("a tensor in two shards is refused") {
    const Shards shards;
    write_tensors(shards / "two.safetensors", {"c", "b"});
    check_refused(shards.path(), "two.safetensors: has a tensor \"b\", which " +
                                     (shards / "one.safetensors").string() + " has too");
}

TEST_CASE("a shard that is cut off is refused") {
    const Shards shards;
    std::filesystem::resize_file(shards / "two.safetensors",
                                 std::filesystem::file_size(shards / "two.safetensors") - 1);
    check_refused(shards.path(), "two.safetensors: tensor \"c\" has data_offsets [0, 4], expected");
}

TEST_CASE("a folder without weights is refused, and so is what is none") {
    const TemporaryFolder folder;
    check_refused(folder.path(), "has neither model.safetensors nor model.safetensors.index.json");
    check_refused(folder / "none", "none: is no folder, expected one with config.json and model.safetensors");
    write_text(folder / "file", "");
    check_refused(folder / "file", "file: is no folder");
    std::filesystem::create_directory(folder / "model.safetensors");
    check_refused(folder.path(), "model.safetensors: is a folder, expected a regular file");
}

}  // namespace io_published_folder
