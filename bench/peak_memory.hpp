#pragma once

#include <cstdio>
#include <fstream>
#include <string>
#include <sys/wait.h>
#include <unistd.h>

#include <ring_attention/core/error.hpp>

namespace bench {

namespace ra = ring_attention;

/// A line of /proc/self/status, in bytes: "VmRSS" is what is resident now, "VmHWM" the most there has been.
inline double status_bytes(const std::string& name) {
    std::ifstream status("/proc/self/status");
    for (std::string line; std::getline(status, line);)
        if (line.starts_with(name + ":")) return std::stod(line.substr(name.size() + 1)) * 1024;
    throw ra::Error("/proc/self/status has no line " + name);
}

/// The bytes by which work() raises what is resident, at the most.
template <class Work>
double peak_bytes_of(const Work& work) {
    std::ofstream("/proc/self/clear_refs") << 5 << std::flush;  // VmHWM begins anew
    const double before = status_bytes("VmRSS");
    const auto result = work();
    return status_bytes("VmHWM") - before;
}

/// What measure() returns in a child process: buffers and free memory that an earlier call left behind do not
/// hide what this one needs. Begin it before any thread.
template <class Measure>
double in_child_process(const Measure& measure) {
    int ends[2];
    if (pipe(ends) != 0) throw ra::Error("cannot make a pipe");
    const pid_t child = fork();
    if (child < 0) throw ra::Error("cannot fork");
    double number = 0;
    if (child == 0) {
        number = measure();
        _exit(write(ends[1], &number, sizeof number) == sizeof number ? 0 : 1);
    }
    close(ends[1]);
    const bool complete = read(ends[0], &number, sizeof number) == sizeof number;
    close(ends[0]);
    int status = 0;
    if (waitpid(child, &status, 0) != child || status != 0 || !complete)
        throw ra::Error("the child process failed");
    return number;
}

}  // namespace bench
