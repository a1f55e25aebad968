#include <atomic>
#include <chrono>
#include <cstdlib>
#include <stdexcept>
#include <thread>
#include <vector>

#include <doctest/doctest.h>

#include <ring_attention/core/parallel.hpp>

#include "support/error_message.hpp"

namespace ra = ring_attention;

namespace {

/// Puts the number of threads back.
struct Threads {
    int before = ra::num_threads();
    ~Threads() { ra::set_num_threads(before); }
};

}  // namespace

TEST_CASE("parallel_for runs every task once, with any number of threads") {
    const Threads restore;
    for (const int threads : {1, 2, 3, 8}) {
        ra::set_num_threads(threads);
        CHECK(ra::num_threads() == threads);
        for (const ra::Index count : {0, 1, 2, 7, 1000}) {
            std::vector<std::atomic<int>> calls(static_cast<std::size_t>(count));
            ra::parallel_for(count, [&](ra::Index i) { ++calls[std::size_t(i)]; });
            for (const auto& number : calls) CHECK(number == 1);
        }
    }
}

TEST_CASE("an exception of a task reaches the caller, and the pool goes on") {
    const Threads restore;
    for (const int threads : {1, 3}) {
        ra::set_num_threads(threads);
        CHECK_THROWS_WITH_AS(ra::parallel_for(100,
                                              [](ra::Index i) {
                                                  if (i == 42) throw std::runtime_error("task 42");
                                              }),
                             "task 42", std::runtime_error);
        std::atomic<int> calls = 0;
        ra::parallel_for(10, [&](ra::Index) { ++calls; });
        CHECK(calls == 10);
    }
}

TEST_CASE("tasks that have not begun when one throws are not run") {
    const Threads restore;
    ra::set_num_threads(3);
    std::atomic<int> calls = 0;
    CHECK_THROWS(ra::parallel_for(300, [&](ra::Index i) {
        if (i == 0) throw std::runtime_error("the first");
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
        ++calls;
    }));
    CHECK(calls < 299);
}

TEST_CASE("a parallel_for within a task, and calls from several threads at once, end") {
    const Threads restore;
    ra::set_num_threads(3);
    std::atomic<int> calls = 0;
    const auto work = [&] {
        ra::parallel_for(8, [&](ra::Index) { ra::parallel_for(8, [&](ra::Index) { ++calls; }); });
    };
    {
        std::vector<std::jthread> callers;
        for (int i = 0; i < 4; ++i) callers.emplace_back(work);
    }
    CHECK(calls == 4 * 64);
}

TEST_CASE("a number of threads that cannot be is refused") {
    CHECK_REFUSES(ra::set_num_threads(0), "0 threads", "at least 1");
    const char* before = std::getenv("RING_ATTENTION_NUM_THREADS");
    const std::string saved = before ? before : "";
    for (const char* wrong : {"0", "-1", "two", "2x", "99999"}) {
        setenv("RING_ATTENTION_NUM_THREADS", wrong, 1);
        CHECK_REFUSES(ra::detail::default_num_threads(), "RING_ATTENTION_NUM_THREADS", wrong, "1 to 4096");
    }
    setenv("RING_ATTENTION_NUM_THREADS", "3", 1);
    CHECK(ra::detail::default_num_threads() == 3);
    if (before)
        setenv("RING_ATTENTION_NUM_THREADS", saved.c_str(), 1);
    else
        unsetenv("RING_ATTENTION_NUM_THREADS");
}
