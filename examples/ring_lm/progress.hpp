#pragma once

#include <algorithm>
#include <chrono>
#include <string>
#include <unistd.h>

#include <fmt/format.h>

#include "output.hpp"

namespace ring_lm {

/// One line that is written over on a terminal; plain lines elsewhere.
class ProgressLine {
  public:
    void show(const std::string& text) { say(on_terminal_ ? "\r\033[K" + text : text + "\n"); }

    /// On a terminal, lines may come often; elsewhere they would fill the log.
    bool on_terminal() const { return on_terminal_; }

    void end() {
        if (on_terminal_) say("\n");
    }

  private:
    bool on_terminal_ = isatty(STDOUT_FILENO) != 0;
};

class Stopwatch {
  public:
    double seconds() const {
        return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
    }

  private:
    std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

/// "1:05"
inline std::string minutes_text(double seconds) {
    const auto whole = long(std::min(seconds, 1e15) + 0.5);
    return fmt::format("{}:{:02}", whole / 60, whole % 60);
}

}  // namespace ring_lm
