#include <atomic>
#include <filesystem>
#include <stdexcept>
#include <thread>
#include <vector>

#include <doctest/doctest.h>

#include <ring_attention/core/parallel.hpp>

#include "support/num_threads.hpp"
#include "support/together.hpp"

namespace ra = ring_attention;
using support::comes_true;

namespace {

int threads_of_process() {
    int count = 0;
    for ([[maybe_unused]] const auto& each : std::filesystem::directory_iterator("/proc/self/task")) ++count;
    return count;
}

/// A parallel_for of two tasks, on two threads, that last until release().
class LongCall {
  public:
    LongCall() {
        caller_ = std::jthread([this] {
            ra::parallel_for(2, [this](ra::Index) {
                ++begun_;
                if (!comes_true([this] { return released_.load(); })) ++late_;
            });
        });
        all_begun_ = comes_true([this] { return begun_ == 2; });
    }
    ~LongCall() { release(); }

    bool all_begun() const { return all_begun_; }
    /// True where it came before the tasks' patience was at its end.
    bool release() {
        released_ = true;
        if (caller_.joinable()) caller_.join();
        return late_ == 0;
    }

  private:
    std::atomic<int> begun_ = 0, late_ = 0;
    std::atomic<bool> released_ = false;
    bool all_begun_ = false;
    std::jthread caller_;
};

ra::Index sum_of_tasks(ra::Index count) {
    std::atomic<ra::Index> sum = 0;
    ra::parallel_for(count, [&](ra::Index i) { sum += i; });
    return sum;
}

}  // namespace

TEST_CASE("thread pool: a call does not wait for helpers that are busy with another thread's") {
    const support::NumThreads two(2);
    LongCall other;
    REQUIRE(other.all_begun());
    for (const ra::Index count : {2, 3, 1000}) CHECK(sum_of_tasks(count) == count * (count - 1) / 2);
    CHECK(other.release());
}

TEST_CASE("thread pool: several callers share the threads, each with some") {
    const support::NumThreads five(5);
    LongCall first;
    REQUIRE(first.all_begun());
    CHECK(support::together(3, [](ra::Index) {}));
    LongCall second;
    REQUIRE(second.all_begun());
    CHECK(support::together(2, [](ra::Index) {}));
    CHECK(second.release());
    CHECK(first.release());
}

TEST_CASE("thread pool: a task may wait for a thread that has tasks of its own") {
    const support::NumThreads two(2);
    std::atomic<ra::Index> sum = 0;
    ra::parallel_for(4, [&](ra::Index) { std::jthread([&] { sum += sum_of_tasks(100); }); });
    CHECK(sum == 4 * 4950);
}

TEST_CASE("thread pool: more and fewer threads, while others use it and from inside a task") {
    const support::NumThreads two(2);
    std::atomic<bool> done = false;
    std::atomic<int> wrong = 0;
    {
        std::vector<std::jthread> callers;
        for (int i = 0; i < 2; ++i)
            callers.emplace_back([&] {
                while (!done)
                    if (sum_of_tasks(10) != 45) ++wrong;
            });
        for (int round = 0; round < 30; ++round) ra::set_num_threads(1 + round % 4);
        done = true;
    }
    CHECK(wrong == 0);
    ra::set_num_threads(3);
    CHECK(support::together(3, [](ra::Index task) { ra::set_num_threads(task == 0 ? 1 : 5); }));
    ra::set_num_threads(4);
    CHECK(support::together(4, [](ra::Index) {}));
}

TEST_CASE("thread pool: threads that are not wanted any more are gone when set_num_threads returns") {
    const support::NumThreads one(1);
    const int before = threads_of_process();
    ra::set_num_threads(7);
    CHECK(threads_of_process() == before + 6);
    CHECK(support::together(7, [](ra::Index) {}));
    ra::set_num_threads(3);
    CHECK(comes_true([&] { return threads_of_process() == before + 2; }));
    ra::set_num_threads(1);
    CHECK(comes_true([&] { return threads_of_process() == before; }));
}

TEST_CASE("thread pool: an exception of each of several tasks at once, of which one arrives") {
    const support::NumThreads three(3);
    for (int round = 0; round < 100; ++round)
        CHECK_THROWS_AS(ra::parallel_for(3, [](ra::Index) { throw std::runtime_error("each"); }),
                        std::runtime_error);
    CHECK(sum_of_tasks(100) == 4950);
}
