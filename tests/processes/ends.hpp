#pragma once

#include <cstdio>
#include <cstdlib>
#include <sys/wait.h>
#include <unistd.h>

// For programs about how processes begin and end: what does not come in time ends with a signal, so that a
// hang is a failure.

namespace processes {

inline void require(bool holds, const char* what) {
    if (holds) return;
    std::fprintf(stderr, "not so: %s\n", what);
    std::_Exit(1);
}

/// Of this process, in seconds.
inline void limit_time() {
    alarm(20);
}

/// Calls f in a child, which then exits as a program does. True where that went well.
bool child_ends_well(auto&& f) {
    const pid_t child = fork();
    if (child == 0) {
        limit_time();
        f();
        std::exit(0);
    }
    int status = -1;
    waitpid(child, &status, 0);
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

}  // namespace processes
