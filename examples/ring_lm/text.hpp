#pragma once

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <string>
#include <sys/stat.h>
#include <unistd.h>
#include <vector>

#include <ring_attention/ring_attention.hpp>

namespace ring_lm {

namespace ra = ring_attention;

using Bytes = std::vector<std::uint8_t>;

/// A file of which parts are read as they are needed: on several ranks, each reads its own.
class TextFile {
  public:
    /// Throws ra::FileError where there is no such file, nothing in it, or it is not one whose parts can be
    /// read in any order.
    explicit TextFile(const std::filesystem::path& path)
        // O_NONBLOCK: a pipe without a writer would hold us up before we could refuse it.
        : TextFile(path, open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)) {
        struct stat status {};
        if (file_ < 0 || fstat(file_, &status) != 0)
            throw ra::FileError("cannot open " + path.string() + ": " + std::strerror(errno));
        if (!S_ISREG(status.st_mode))
            throw ra::FileError(path.string() +
                                (S_ISDIR(status.st_mode) ? " is a folder" : " is a pipe or device") +
                                ", expected a regular file, whose parts can be read in any order");
        size_ = std::size_t(status.st_size);
        char byte = 0;
        if (size_ == 0 && pread(file_, &byte, 1, 0) == 1)  // as in /proc
            throw ra::FileError(path.string() + " does not tell its size, expected a copy of it");
        if (size_ == 0) throw ra::FileError(path.string() + " is empty, expected a text");
    }
    ~TextFile() {
        if (file_ >= 0) close(file_);
    }
    TextFile(const TextFile&) = delete;
    TextFile& operator=(const TextFile&) = delete;

    std::size_t size() const { return size_; }
    const std::filesystem::path& path() const { return path_; }

    /// Throws ra::FileError where they cannot be read.
    Bytes read(std::size_t first, std::size_t count) const {
        Bytes bytes(count);
        for (std::size_t done = 0; done < count;) {
            const ssize_t got = pread(file_, bytes.data() + done, count - done, off_t(first + done));
            if (got < 0 && errno == EINTR) continue;
            if (got <= 0)
                throw ra::FileError("cannot read " + path_.string() + ": " +
                                    (got < 0 ? std::strerror(errno) : "it has become shorter"));
            done += std::size_t(got);
        }
        return bytes;
    }

  private:
    TextFile(const std::filesystem::path& path, int file) : path_(path), file_(file) {}

    std::filesystem::path path_;
    int file_;
    std::size_t size_ = 0;
};

/// A part of a text file.
struct Text {
    const TextFile* file;
    std::size_t first, count;

    std::size_t size() const { return count; }
    Bytes read(std::size_t from, std::size_t how_many) const { return file->read(first + from, how_many); }
};

/// Tokens and what follows each: [batch, tokens].
struct Batch {
    ra::Tensor<ra::Token, 2> tokens, targets;
};

/// Of windows of the text that begin at these places, the tokens at these positions (in rising order) and
/// what follows each. Reads no more than that, but over gaps of less than a page.
inline Batch windows_at(const Text& text, const std::vector<std::size_t>& starts,
                        const ra::List<ra::Index>& positions) {
    constexpr ra::Index page = 4096;
    const auto count = ra::Index(starts.size()), tokens = ra::Index(positions.size());
    Batch batch{ra::Tensor<ra::Token, 2>(count, tokens), ra::Tensor<ra::Token, 2>(count, tokens)};
    for (ra::Index first = 0, end; first < tokens; first = end) {
        const auto position = [&](ra::Index i) { return positions[std::size_t(i)]; };
        for (end = first + 1; end < tokens && position(end) - position(end - 1) < page;) ++end;
        const ra::Index begin = position(first);
        for (ra::Index b = 0; b < count; ++b) {
            const Bytes bytes = text.read(starts[std::size_t(b)] + std::size_t(begin),
                                          std::size_t(position(end - 1) - begin + 2));
            for (ra::Index i = first; i < end; ++i) {
                batch.tokens(b, i) = bytes[std::size_t(position(i) - begin)];
                batch.targets(b, i) = bytes[std::size_t(position(i) - begin + 1)];
            }
        }
    }
    return batch;
}

/// Random places at which a window of `length` bytes, and one byte more, fits into the text: a function of
/// seed and step, for the windows [windows.first, windows.end()) of a batch.
inline std::vector<std::size_t> random_starts(const Text& text, const ra::IndexRange& windows,
                                              ra::Index length, std::uint64_t seed, std::int64_t step) {
    const ra::CounterRandom random(seed, ra::RandomPurpose::sampling);
    std::vector<std::size_t> starts;
    for (ra::Index b = windows.first; b < windows.end(); ++b) {
        const double place = random.uniform(std::uint64_t(step), std::uint64_t(b));
        starts.push_back(std::size_t(place * double(text.size() - std::size_t(length))));
    }
    return starts;
}

}  // namespace ring_lm
