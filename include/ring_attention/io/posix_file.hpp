#pragma once

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <fcntl.h>
#include <filesystem>
#include <span>
#include <string>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>

#include <ring_attention/io/file_message.hpp>

namespace ring_attention::inline RING_ATTENTION_ABI::detail {

/// An open file descriptor, closed at the end. What the standard streams do not offer is why it is here:
/// fsync, exclusive creation, and reads that share no position.
class FileDescriptor {
  public:
    explicit FileDescriptor(int number = -1) : number_(number) {}
    FileDescriptor(FileDescriptor&& other) noexcept : number_(std::exchange(other.number_, -1)) {}
    FileDescriptor& operator=(FileDescriptor&& other) noexcept {
        std::swap(number_, other.number_);
        return *this;
    }
    FileDescriptor(const FileDescriptor&) = delete;
    FileDescriptor& operator=(const FileDescriptor&) = delete;
    ~FileDescriptor() { close(); }

    int number() const { return number_; }
    bool is_open() const { return number_ >= 0; }

    /// False, with errno, if the system says that what was written did not arrive.
    bool close() { return !is_open() || ::close(std::exchange(number_, -1)) == 0; }

  private:
    int number_;
};

struct OpenedFile {
    FileDescriptor descriptor;
    std::uint64_t size;
};

/// Throws FileError unless the path leads to a regular file that can be opened.
inline OpenedFile open_for_reading(const std::filesystem::path& path) {
    // O_NONBLOCK: a pipe without a writer would hold us up before we could refuse it.
    FileDescriptor descriptor(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
    if (!descriptor.is_open()) refuse_file(path, "cannot be opened, expected a file that can be read", errno);
    struct stat status {};
    if (::fstat(descriptor.number(), &status) != 0) refuse_file(path, "cannot be examined", errno);
    if (!S_ISREG(status.st_mode))
        refuse_file(path, std::string(S_ISDIR(status.st_mode) ? "is a folder" : "is a pipe or device") +
                              ", expected a regular file");
    return {std::move(descriptor), std::uint64_t(status.st_size)};
}

/// Fills the bytes from the file's position on. Throws FileError if the file cannot be read or ends before.
inline void read_at(const FileDescriptor& descriptor, const std::filesystem::path& path,
                    std::uint64_t position, std::span<std::byte> bytes) {
    while (!bytes.empty()) {
        const ssize_t count = ::pread(descriptor.number(), bytes.data(), bytes.size(), off_t(position));
        const int error = errno;
        if (count < 0 && error == EINTR) continue;
        if (count < 0) refuse_file(path, "cannot be read at byte " + std::to_string(position), error);
        if (count == 0)
            refuse_file(path, "ends at byte " + std::to_string(position) + ", expected " +
                                  std::to_string(bytes.size()) + " bytes more");
        position += std::uint64_t(count);
        bytes = bytes.subspan(std::size_t(count));
    }
}

}  // namespace ring_attention::inline RING_ATTENTION_ABI::detail
