#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <sys/stat.h>
#include <utility>

#include <doctest/doctest.h>

#include <ring_attention/io/posix_file.hpp>

#include "support/temporary_folder.hpp"

namespace io_posix_file {

namespace ra = ring_attention;

namespace {

std::string text_at(const ra::detail::OpenedFile& file, std::uint64_t position, std::size_t size) {
    std::string text(size, '.');
    ra::detail::read_at(file.descriptor, "file", position, std::as_writable_bytes(std::span(text)));
    return text;
}

}  // namespace

TEST_CASE("a file is read at any position") {
    const TemporaryFolder folder;
    write_text(folder / "file", "0123456789");
    ra::detail::OpenedFile file = ra::detail::open_for_reading(folder / "file");
    CHECK(file.size == 10);
    CHECK(text_at(file, 7, 3) == "789");
    CHECK(text_at(file, 0, 2) == "01");
    CHECK(text_at(file, 10, 0).empty());
    const ra::detail::OpenedFile moved = std::move(file);
    CHECK(text_at(moved, 4, 1) == "4");
}

TEST_CASE("what is not a file is refused") {
    const TemporaryFolder folder;
    const auto refused = [](const std::filesystem::path& path, const char* expected) {
        CHECK_THROWS_WITH_AS(ra::detail::open_for_reading(path), doctest::Contains(expected), ra::FileError);
    };
    refused(folder / "none", "none: cannot be opened, expected a file that can be read (No such file");
    refused(folder / "none" / "x", "cannot be opened");
    refused("", "cannot be opened");
    refused(folder.path(), "is a folder, expected a regular file");
    refused("/dev/zero", "is a pipe or device, expected a regular file");
    REQUIRE(::mkfifo((folder / "pipe").c_str(), 0600) == 0);
    refused(folder / "pipe", "is a pipe or device");
}

TEST_CASE("a file that ends too early is refused") {
    const TemporaryFolder folder;
    write_text(folder / "file", "0123456789");
    const ra::detail::OpenedFile file = ra::detail::open_for_reading(folder / "file");
    std::filesystem::resize_file(folder / "file", 6);
    CHECK_THROWS_WITH_AS(text_at(file, 4, 6),
                         doctest::Contains("file: ends at byte 6, expected 4 bytes more"), ra::FileError);
    CHECK_THROWS_WITH_AS(text_at(file, std::uint64_t(1) << 63, 1),
                         doctest::Contains("cannot be read at byte"), ra::FileError);
}

}  // namespace io_posix_file
