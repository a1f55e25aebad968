#include <csignal>
#include <cstddef>
#include <filesystem>
#include <set>
#include <span>
#include <string>
#include <sys/resource.h>
#include <sys/stat.h>
#include <thread>
#include <vector>

#include <doctest/doctest.h>

#include <ring_attention/io/atomic_file.hpp>

#include "support/temporary_folder.hpp"

namespace io_atomic_file {

namespace ra = ring_attention;
namespace fs = std::filesystem;

namespace {

using Names = std::set<std::string>;

void put(const fs::path& path, const std::string& text) {
    ra::detail::AtomicFile file(path);
    file.write(std::as_bytes(std::span(text)));
    file.commit();
}

/// No file may grow beyond this size while the guard lives: a disk that is full, for a program that may do
/// everything.
class FileSizeLimit {
  public:
    explicit FileSizeLimit(rlim_t size) : old_handler_(std::signal(SIGXFSZ, SIG_IGN)) {
        ::getrlimit(RLIMIT_FSIZE, &old_limit_);
        const rlimit limit{size, old_limit_.rlim_max};
        ::setrlimit(RLIMIT_FSIZE, &limit);
    }
    FileSizeLimit(const FileSizeLimit&) = delete;
    FileSizeLimit& operator=(const FileSizeLimit&) = delete;
    ~FileSizeLimit() {
        ::setrlimit(RLIMIT_FSIZE, &old_limit_);
        std::signal(SIGXFSZ, old_handler_);
    }

  private:
    void (*old_handler_)(int);
    rlimit old_limit_{};
};

doctest::String message_of_putting(const fs::path& path, const std::string& text) {
    try {
        put(path, text);
        return "written";
    } catch (const ra::FileError& error) {
        return error.what();
    }
}

}  // namespace

TEST_CASE("a file is there when it is committed, and nothing else is") {
    const TemporaryFolder folder;
    {
        ra::detail::AtomicFile file(folder / "file");
        file.write(std::as_bytes(std::span("new", 3)));
        CHECK_FALSE(fs::exists(folder / "file"));
        file.commit();
    }
    CHECK(read_text(folder / "file") == "new");
    put(folder / "file", "newer");
    CHECK(read_text(folder / "file") == "newer");
    CHECK(folder.names() == Names{"file"});
}

TEST_CASE("without a commit the old file stays, and nothing else") {
    const TemporaryFolder folder;
    write_text(folder / "file", "old");
    {
        ra::detail::AtomicFile file(folder / "file");
        file.write(std::as_bytes(std::span("new", 3)));
    }
    CHECK(read_text(folder / "file") == "old");
    CHECK(folder.names() == Names{"file"});
}

TEST_CASE("a full disk leaves the old file, and nothing else") {
    const TemporaryFolder folder;
    write_text(folder / "file", "old");
    doctest::String message;
    {
        const FileSizeLimit limit(1000);
        message = message_of_putting(folder / "file", std::string(3000, 'x'));
    }
    CHECK(message ==
          doctest::Contains("file: cannot be written, expected room on the disk (File too large)"));
    CHECK(read_text(folder / "file") == "old");
    CHECK(folder.names() == Names{"file"});
}

TEST_CASE("a path that cannot hold a file is refused") {
    const TemporaryFolder folder;
    CHECK(
        message_of_putting(folder / "none" / "file", "x") ==
        doctest::Contains("cannot be written, expected a folder that files can be created in (No such file"));
    CHECK(message_of_putting(folder.path(), "x") == doctest::Contains("names a folder, expected a file"));
    CHECK(message_of_putting("", "x") == doctest::Contains("names a folder, expected a file"));
    CHECK(message_of_putting(folder / "none/", "x") == doctest::Contains("names a folder, expected a file"));
    write_text(folder / "file", "old");
    CHECK(message_of_putting(folder / "file" / "file", "x") == doctest::Contains("(Not a directory)"));
    CHECK(message_of_putting(folder / std::string(300, 'x'), "x") ==
          doctest::Contains("(File name too long)"));
    CHECK(folder.names() == Names{"file"});
}

TEST_CASE("a rename that fails leaves nothing behind") {
    const TemporaryFolder folder;
    ra::detail::AtomicFile file(folder / "file");
    fs::create_directory(folder / "file");
    CHECK_THROWS_WITH_AS(file.commit(), doctest::Contains("(Is a directory)"), ra::FileError);
    CHECK(folder.names() == Names{"file"});  // at once: nobody may catch the error
}

TEST_CASE("a pipe is not replaced, and neither would a device be") {
    const TemporaryFolder folder;
    REQUIRE(::mkfifo((folder / "pipe").c_str(), 0600) == 0);
    fs::create_symlink("pipe", folder / "link");
    for (const char* name : {"pipe", "link"})
        CHECK(message_of_putting(folder / name, "x") ==
              doctest::Contains("pipe or device, expected a regular file"));
    CHECK(fs::is_fifo(folder / "pipe"));
    CHECK(folder.names() == Names{"link", "pipe"});
}

TEST_CASE("a link stays a link, and the file behind it is replaced") {
    const TemporaryFolder folder;
    fs::create_directory(folder / "store");
    write_text(folder / "store" / "v1", "old");
    fs::create_symlink("store/v1", folder / "link");
    fs::create_symlink(folder / "link", folder / "link_to_link");
    put(folder / "link_to_link", "new");
    CHECK(read_text(folder / "store" / "v1") == "new");
    CHECK(fs::is_symlink(folder / "link"));
    CHECK(fs::is_symlink(folder / "link_to_link"));
    fs::create_symlink("store/v2", folder / "dangling");
    put(folder / "dangling", "new");
    CHECK(read_text(folder / "store" / "v2") == "new");
    fs::create_symlink("circle", folder / "circle");
    CHECK(message_of_putting(folder / "circle", "x") == doctest::Contains("leads in a circle"));
    CHECK(folder.names() == Names{"circle", "dangling", "link", "link_to_link", "store"});
}

TEST_CASE("whoever may read the old file, and nobody else, may read the new") {
    const TemporaryFolder folder;
    write_text(folder / "file", "old");
    fs::permissions(folder / "file", fs::perms::owner_read | fs::perms::owner_write);
    put(folder / "file", "new");
    CHECK(fs::status(folder / "file").permissions() == (fs::perms::owner_read | fs::perms::owner_write));
}

TEST_CASE("threads that write one path at a time leave the whole file of one of them") {
    const TemporaryFolder folder;
    const auto write_often = [&](char letter) {
        for (int i = 0; i < 20; ++i) put(folder / "file", std::string(10'000, letter));
    };
    std::thread other(write_often, 'a');
    write_often('b');
    other.join();
    const std::string text = read_text(folder / "file");
    CHECK((text == std::string(10'000, 'a') || text == std::string(10'000, 'b')));
    CHECK(folder.names() == Names{"file"});
}

TEST_CASE("a file in the current folder needs no folder in its path") {
    const TemporaryFolder folder;
    const fs::path before = fs::current_path();
    fs::current_path(folder.path());
    const doctest::String message = message_of_putting("file", "new");
    fs::current_path(before);
    CHECK(message == "written");
    CHECK(folder.names() == Names{"file"});
}

TEST_CASE("a file is written whole or not at all") {
    const TemporaryFolder folder;
    const auto write = [&](const fs::path& path, const std::string& text) {
        ra::write_file(path, std::as_bytes(std::span(text)));
    };
    write(folder / "file", "old");
    write(folder / "file", "");
    CHECK(read_text(folder / "file").empty());
    write(folder / "file", "new");
    CHECK_THROWS_WITH_AS(write(folder / "none" / "file", "x"), doctest::Contains("expected a folder"),
                         ra::FileError);
    CHECK_THROWS_WITH_AS(write("/dev/full", "x"), doctest::Contains("is a pipe or device"), ra::FileError);
    CHECK(read_text(folder / "file") == "new");
    CHECK(folder.names() == Names{"file"});
}

TEST_CASE("whether a file can be written is known before, and nothing is changed to know it") {
    const TemporaryFolder folder;
    write_text(folder / "file", "old");
    REQUIRE(::mkfifo((folder / "pipe").c_str(), 0600) == 0);
    ra::require_writable(folder / "file");
    ra::require_writable(folder / "new");
    for (const fs::path& path :
         {folder.path(), folder / "pipe", fs::path("/dev/full"), folder / "none" / "file"})
        CHECK_THROWS_AS(ra::require_writable(path), ra::FileError);
    CHECK(read_text(folder / "file") == "old");
    CHECK(folder.names() == Names{"file", "pipe"});
}

}  // namespace io_atomic_file
