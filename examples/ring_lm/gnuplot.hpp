#pragma once

#include <algorithm>
#include <array>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>
#include <system_error>

#include <ring_attention/io/atomic_file.hpp>

namespace ring_lm {

namespace detail {

/// While it lives, what is written to a pipe that nobody reads any more fails, and ends no program.
class IgnoredPipeSignal {
  public:
    IgnoredPipeSignal() : before_(std::signal(SIGPIPE, SIG_IGN)) {}
    ~IgnoredPipeSignal() { std::signal(SIGPIPE, before_); }
    IgnoredPipeSignal(const IgnoredPipeSignal&) = delete;
    IgnoredPipeSignal& operator=(const IgnoredPipeSignal&) = delete;

  private:
    void (*before_)(int);
};

/// Whether a PNG or SVG has its end: gnuplot does not tell when the disk is full.
inline bool is_whole_picture(const std::filesystem::path& path) {
    std::ifstream file(path, std::ios::binary | std::ios::ate);
    std::array<char, 16> end{};
    const std::streamoff size = file.tellg();
    file.seekg(std::max<std::streamoff>(0, size - std::streamoff(end.size())));
    file.read(end.data(), end.size());
    const std::string_view text(end.data(), std::size_t(file.gcount()));
    return text.find(path.extension() == ".svg" ? "</svg>" : "IEND") != text.npos;
}

}  // namespace detail

/// Has gnuplot draw what write(pipe) tells it, to this file, where there is one; returns whether it did.
/// Throws ring_attention::FileError where the file cannot be written, or not all of it.
inline bool gnuplot(const std::filesystem::path& picture, auto&& write) {
    ring_attention::require_writable(picture);
    if (std::system("command -v gnuplot >/dev/null 2>&1") != 0) return false;
    std::FILE* pipe = popen("gnuplot >/dev/null 2>&1", "w");
    if (pipe == nullptr) return false;
    const detail::IgnoredPipeSignal ignored;
    try {
        write(pipe);
    } catch (const std::system_error&) {  // it has ended, as its exit code says
    }
    if (pclose(pipe) != 0) return false;
    if (!detail::is_whole_picture(picture))
        throw ring_attention::FileError("cannot write " + picture.string() +
                                        ": the picture is not whole, expected room on the disk");
    return true;
}

/// A text as gnuplot reads it.
inline std::string gnuplot_text(const std::filesystem::path& path) {
    std::string text = "'";
    for (const char c : path.string()) text += c == '\'' ? "''" : std::string(1, c);
    return text + "'";
}

}  // namespace ring_lm
