#pragma once

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string>

namespace ring_lm {

/// Has gnuplot draw what write(pipe) tells it, where there is one; returns whether it did.
inline bool gnuplot(auto&& write) {
    if (std::system("command -v gnuplot >/dev/null 2>&1") != 0) return false;
    std::FILE* pipe = popen("gnuplot >/dev/null 2>&1", "w");
    if (pipe == nullptr) return false;
    write(pipe);
    return pclose(pipe) == 0;
}

/// A text as gnuplot reads it.
inline std::string gnuplot_text(const std::filesystem::path& path) {
    std::string text = "'";
    for (const char c : path.string()) text += c == '\'' ? "''" : std::string(1, c);
    return text + "'";
}

}  // namespace ring_lm
