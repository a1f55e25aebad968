#pragma once

/// What a program and a shared object tell each other of the pool that each sees.
struct Pool {
    const void* address;
    int (*num_threads)();
    void (*set_num_threads)(int);
    /// True where so many threads take a task each.
    bool (*all_work)(int);
};

extern "C" [[gnu::visibility("default")]] Pool pool_of_plugin();
