#pragma once

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <exception>
#include <new>
#include <optional>
#include <string>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include <ring_attention/core/error.hpp>

#include "output.hpp"

// What a program does around its work.

namespace ring_lm {

/// Reads the command line. The exit code, where help was asked for, which is printed if this process
/// `speaks`. Throws ra::Error, which refers to `help`.
inline std::optional<int> parse(CLI::App& app, int argc, char** argv, const std::string& help, bool speaks) {
    try {
        app.parse(argc, argv);
        return std::nullopt;
    } catch (const CLI::Success& asked_for_help) {
        const int exit_code = speaks ? app.exit(asked_for_help) : 0;
        require_output();
        return exit_code;
    } catch (const CLI::ParseError& error) {
        throw ring_attention::Error(std::string(error.what()) + " (see " + help + ")");
    }
}

/// The exit code: that of work(), or where it throws 2, with one line on stderr behind the prefix.
int guarded(const std::string& prefix, auto&& work) {
    const auto fail = [&](std::string message) {
        std::replace(message.begin(), message.end(), '\n', ' ');
        fmt::print(stderr, "{}{}\n", prefix, message);
        return 2;
    };
    try {
        occupy_closed_streams();
        std::signal(SIGXFSZ, SIG_IGN);  // a file that may not grow is an error as any other
        return work();
    } catch (const std::bad_alloc&) {
        return fail("there is not enough memory for that");
    } catch (const std::exception& error) {
        return fail(error.what());
    }
}

}  // namespace ring_lm
