#pragma once

#include <atomic>
#include <pthread.h>

// What the threads of the pool (thread_pool.hpp) and those whom they help share. No name, type or size
// depends on a flag.

namespace ring_attention {
namespace [[gnu::visibility("default")]] process_v1 {

/// Work that threads of the pool may help with while its caller is at it. It lies on the caller's stack.
struct Job {
    void (*work)(void* object);  ///< throws nothing
    void* object;
    int places;  ///< how many may still begin
    std::atomic<int> at_work{0};
    unsigned forks = 0;  ///< when the caller began
    Job* next = nullptr;
};

/// A thread of the pool, on its own stack.
struct Worker {
    pthread_t thread;
    std::atomic<bool> busy{false}, leaving{false};
    Worker* next = nullptr;
};

/// True on a thread that is inside a task: a parallel_for in there runs on that thread alone.
inline constinit thread_local bool inside_task = false;

inline void pause() {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#endif
}

/// std::mutex is another type in another standard library, and may be destroyed at the end of the program.
struct Mutex {
    pthread_mutex_t handle = PTHREAD_MUTEX_INITIALIZER;

    void lock() { pthread_mutex_lock(&handle); }
    void unlock() { pthread_mutex_unlock(&handle); }
};

}  // namespace gnu::visibility("default")]]process_v1
}  // namespace ring_attention
