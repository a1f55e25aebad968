#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <thread>

#include <ring_attention/core/parallel.hpp>

namespace support {

/// Waits until it holds, ten seconds at most; false where it does not come.
inline bool comes_true(auto&& condition) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(10);
    while (!condition()) {
        if (std::chrono::steady_clock::now() > end) return false;
        std::this_thread::sleep_for(std::chrono::microseconds(50));
    }
    return true;
}

/// Calls f(task) in tasks of which no two are on one thread, since each waits until all have begun. False
/// where they do not.
inline bool together(int threads, auto&& f) {
    std::atomic<int> begun = 0, alone = 0;
    ring_attention::parallel_for(threads, [&](ring_attention::Index task) {
        ++begun;
        if (!comes_true([&] { return begun == threads; })) ++alone;
        f(task);
    });
    return alone == 0;
}

}  // namespace support
