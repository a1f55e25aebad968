#pragma once

#include <atomic>
#include <cerrno>
#include <dlfcn.h>
#include <pthread.h>

// A system that refuses threads, as it does where memory or a limit of processes is at its end. It replaces
// pthread_create: to be included once in a program.

namespace support {

/// How many threads the system still gives; each takes one.
inline std::atomic<int> threads_left = 1 << 30;

/// As long as this lives.
struct ThreadsLeft {
    explicit ThreadsLeft(int count) { threads_left = count; }
    ~ThreadsLeft() { threads_left = 1 << 30; }
    ThreadsLeft(const ThreadsLeft&) = delete;
    ThreadsLeft& operator=(const ThreadsLeft&) = delete;
};

}  // namespace support

extern "C" int pthread_create(pthread_t* thread, const pthread_attr_t* attributes, void* (*run)(void*),
                              void* argument) noexcept {
    using Create = int (*)(pthread_t*, const pthread_attr_t*, void* (*)(void*), void*);
    static const auto create = reinterpret_cast<Create>(dlsym(RTLD_NEXT, "pthread_create"));
    if (--support::threads_left < 0) return EAGAIN;
    return create(thread, attributes, run, argument);
}
