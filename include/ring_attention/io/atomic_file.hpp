#pragma once

#include <atomic>
#include <cerrno>
#include <cstddef>
#include <fcntl.h>
#include <filesystem>
#include <span>
#include <string>
#include <sys/stat.h>
#include <system_error>
#include <unistd.h>

#include <ring_attention/io/file_message.hpp>
#include <ring_attention/io/posix_file.hpp>

namespace ring_attention::inline RING_ATTENTION_ABI::detail {

/// A file that appears under its path when it is whole: it is written under a temporary name in the same
/// folder, flushed, then renamed, so that a crash leaves the old content or the new. Without commit() nothing
/// changes. Every function throws FileError.
class AtomicFile {
  public:
    explicit AtomicFile(const std::filesystem::path& path) : path_(path), target_(follow_links(path)) {
        std::error_code ignored;  // what cannot be examined cannot be written either, which open says better
        const auto status = std::filesystem::status(target_, ignored);
        if (!target_.has_filename() || std::filesystem::is_directory(status))
            refuse_file(path_, "cannot be written since it names a folder, expected a file");
        // A rename would do away with the device or pipe.
        if (std::filesystem::exists(status) && !std::filesystem::is_regular_file(status))
            refuse_file(path_, "cannot be written since it is a pipe or device, expected a regular file");
        create_temporary();
        keep_permissions();
    }

    AtomicFile(const AtomicFile&) = delete;
    AtomicFile& operator=(const AtomicFile&) = delete;

    ~AtomicFile() { discard(); }

    void write(std::span<const std::byte> bytes) {
        while (!bytes.empty()) {
            const ssize_t count = ::write(descriptor_.number(), bytes.data(), bytes.size());
            if (count < 0 && errno == EINTR) continue;
            if (count < 0) fail("room on the disk");
            bytes = bytes.subspan(std::size_t(count));
        }
    }

    /// Afterwards what was written is on disk, still under the temporary name, and is all.
    void flush() {
        if (!descriptor_.is_open()) return;
        if (::fsync(descriptor_.number()) != 0 || !descriptor_.close()) fail("room on the disk");
    }

    /// Afterwards the file is on disk, under its path, with the permissions of the one that it replaces.
    void commit() {
        flush();
        if (::rename(temporary_.c_str(), target_.c_str()) != 0) fail("a file or nothing under that name");
        temporary_.clear();
        // From here on the new file is in place, which no error can take back; a folder that cannot be
        // flushed (not every file system can) at worst shows the old file again after a power cut.
        const FileDescriptor folder(::open(folder_of(target_).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
        if (folder.is_open()) ::fsync(folder.number());
    }

  private:
    static std::filesystem::path folder_of(const std::filesystem::path& path) {
        return path.has_parent_path() ? path.parent_path() : std::filesystem::path(".");
    }

    /// Renaming onto a link would replace the link, not the file that it stands for.
    static std::filesystem::path follow_links(const std::filesystem::path& path) {
        constexpr int most_links = 40;  // as Linux has it
        std::filesystem::path target = path;
        std::error_code ignored;
        for (int i = 0; std::filesystem::is_symlink(target, ignored); ++i) {
            if (i == most_links) refuse_file(path, "is a link that leads in a circle, expected a file");
            target = target.parent_path() / std::filesystem::read_symlink(target, ignored);
        }
        return target;
    }

    void create_temporary() {
        static std::atomic<unsigned> counter{0};
        // Another process may have our number: on another machine, or before a crash.
        constexpr int most_attempts = 1000;
        int error = EEXIST;
        for (int i = 0; i < most_attempts && error == EEXIST; ++i) {
            const std::string name = ".ring_attention-" + std::to_string(::getpid()) + "-" +
                                     std::to_string(counter.fetch_add(1)) + ".tmp";
            const std::filesystem::path candidate = folder_of(target_) / name;
            descriptor_ =
                FileDescriptor(::open(candidate.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666));
            if (descriptor_.is_open()) {
                temporary_ = candidate;
                return;
            }
            error = errno;
        }
        refuse_file(path_, "cannot be written, expected a folder that files can be created in", error);
    }

    void keep_permissions() {
        struct stat old {
        }, fresh{};
        if (::stat(target_.c_str(), &old) != 0 || ::fstat(descriptor_.number(), &fresh) != 0) return;
        const mode_t mode = old.st_mode & 07777;
        // Some file systems have one mode for all files and refuse to set it.
        if (mode != (fresh.st_mode & 07777) && ::fchmod(descriptor_.number(), mode) != 0)
            fail("permissions that can be kept");
    }

    void discard() {
        if (!temporary_.empty()) ::unlink(temporary_.c_str());
        temporary_.clear();
    }

    [[noreturn]] void fail(const char* expected) {
        const int error = errno;
        discard();  // here already: an exception that nobody catches may end the program without a destructor
        refuse_file(path_, std::string("cannot be written, expected ") + expected, error);
    }

    std::filesystem::path path_;    // as it was given, for messages
    std::filesystem::path target_;  // the file that it stands for
    std::filesystem::path temporary_;
    FileDescriptor descriptor_;
};

}  // namespace ring_attention::inline RING_ATTENTION_ABI::detail

namespace ring_attention::inline RING_ATTENTION_ABI {

/// Writes a regular file. The path has all of these bytes afterwards or, with a FileError, what it had
/// before.
inline void write_file(const std::filesystem::path& path, std::span<const std::byte> bytes) {
    detail::AtomicFile file(path);
    file.write(bytes);
    file.commit();
}

/// Throws FileError where write_file, or save, could not even begin: no such folder, no permission, or a
/// folder, pipe or device in the file's place. Changes nothing.
inline void require_writable(const std::filesystem::path& path) {
    const detail::AtomicFile discarded(path);
}

}  // namespace ring_attention::inline RING_ATTENTION_ABI
