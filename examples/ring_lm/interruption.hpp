#pragma once

#include <atomic>
#include <csignal>
#include <cstdint>
#include <ctime>
#include <string>
#include <string_view>
#include <unistd.h>

namespace ring_lm {

/// The wish to end a training early: SIGINT (Ctrl-C), SIGTERM or SIGHUP. The first is remembered, so that the
/// weights can be saved; the second ends the program at once, as does the first when there is nothing to
/// save. The exit code is 128 + signal.
class Interruption {
  public:
    /// From here on signals are remembered.
    static void watch() {
        struct sigaction action {};
        action.sa_handler = handle;
        action.sa_flags = SA_RESTART;
        sigemptyset(&action.sa_mask);
        for (const int signal : {SIGINT, SIGTERM, SIGHUP}) {
            struct sigaction before {};
            sigaction(signal, nullptr, &before);
            // nohup asks for it. (So does a script for SIGINT in what it starts with &; a kill -INT is
            // meant.)
            if (signal == SIGHUP && before.sa_handler == SIG_IGN) continue;
            sigaction(signal, &action, nullptr);
        }
    }

    /// From here on there is nothing left to save. The line is what whoever stops it then is told; a literal.
    static void all_is_saved(const char* line) { line_when_saved_ = line; }

    /// The signal that came first; 0: none.
    static int signal() { return signal_; }

    static int exit_code(int signal) { return signal == 0 ? 0 : 128 + signal; }

    static std::string name(int signal) {
        return signal == SIGINT ? "SIGINT" : signal == SIGTERM ? "SIGTERM" : "SIGHUP";
    }

  private:
    /// Calls nothing that a signal handler may not call.
    static void handle(int signal) {
        constexpr std::int64_t one_wish = 50'000'000;  // ns in which timeout and mpirun may tell us twice
        timespec time{};
        clock_gettime(CLOCK_MONOTONIC, &time);
        const std::int64_t now = std::int64_t(time.tv_sec) * 1'000'000'000 + time.tv_nsec;
        std::int64_t first = 0;
        if (first_at_.compare_exchange_strong(first, now)) {
            signal_ = signal;
            const char* const saved = line_when_saved_;
            if (saved == nullptr) return;
            const std::string_view line(saved);
            if (write(STDERR_FILENO, line.data(), line.size()) < 0) _exit(128 + signal);
        } else if (now - first < one_wish) {
            return;
        }
        _exit(128 + signal);
    }

    inline static std::atomic<std::int64_t> first_at_{0};  // 0: none has come
    inline static std::atomic<int> signal_{0};
    inline static std::atomic<const char*> line_when_saved_{nullptr};  // null: there is something to save
    static_assert(std::atomic<std::int64_t>::is_always_lock_free &&
                  std::atomic<const char*>::is_always_lock_free);
};

}  // namespace ring_lm
