#pragma once

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <exception>
#include <string>
#include <system_error>

#include <ring_attention/core/available_cpus.hpp>
#include <ring_attention/core/between_tasks.hpp>
#include <ring_attention/core/error.hpp>
#include <ring_attention/core/floating_point_modes.hpp>
#include <ring_attention/core/thread_pool.hpp>
#include <ring_attention/core/types.hpp>

namespace ring_attention::inline RING_ATTENTION_ABI {

namespace detail {

/// RING_ATTENTION_NUM_THREADS where it is set, else the cores that this process may use.
inline int default_num_threads() {
    const char* given = std::getenv("RING_ATTENTION_NUM_THREADS");
    if (given == nullptr || *given == '\0') return available_cpus();
    char* end = nullptr;
    const long count = std::strtol(given, &end, 10);
    if (*end != '\0' || count < 1 || count > 4096)
        throw Error("RING_ATTENTION_NUM_THREADS is '" + std::string(given) +
                    "', expected a number from 1 to 4096");
    return int(count);
}

/// The threads that help the one that calls parallel_for. Of the pool there is one for the process.
inline int num_helpers() {
    const int there = process_v1::thread_pool.size();
    return there >= 0 ? there : process_v1::thread_pool.start([] { return default_num_threads() - 1; });
}

/// A task to call by number, whatever its type: so the code that runs tasks is compiled once and not for each
/// of them.
class TaskReference {
  public:
    template <class Task>
    explicit TaskReference(const Task& task)
        : task_(&task), call_([](const void* erased, Index i) { (*static_cast<const Task*>(erased))(i); }) {}

    void operator()(Index i) const { call_(task_, i); }

  private:
    const void* task_;
    void (*call_)(const void*, Index);
};

/// True while a thread is inside a task.
struct InsideTask {
    InsideTask() { process_v1::inside_task = true; }
    ~InsideTask() { process_v1::inside_task = false; }
    InsideTask(const InsideTask&) = delete;
    InsideTask& operator=(const InsideTask&) = delete;
};

/// The tasks of one parallel_for: whoever is free takes the next; the first exception ends the rest.
class TaskQueue {
  public:
    TaskQueue(Index count, const TaskReference& task) : count_(count), task_(task) {}

    /// On the caller's thread.
    void work() noexcept {
        const InsideTask mark;
        for (Index next = taken_++; next < count_; next = taken_++) {
            BetweenTasks::run();
            try {
                task_(next);
            } catch (...) {
                if (!failed_.exchange(true)) failure_ = std::current_exception();
                taken_ = count_;
            }
        }
    }

    /// On another one.
    void help() noexcept {
        modes_of_caller_.set();
        work();
    }

    void rethrow_failure() {
        if (failure_) std::rethrow_exception(failure_);
    }

  private:
    const Index count_;
    const TaskReference task_;
    const FloatingPointModes modes_of_caller_;
    std::atomic<Index> taken_{0};
    std::atomic<bool> failed_{false};
    std::exception_ptr failure_;
};

inline void run_tasks(Index count, const TaskReference& task) {
    const int helpers = count > 1 && !process_v1::inside_task ? num_helpers() : 0;
    if (helpers == 0) {
        for (Index i = 0; i < count; ++i) {
            BetweenTasks::run();
            task(i);
        }
        return;
    }
    TaskQueue queue(count, task);
    process_v1::Job job{[](void* erased) { static_cast<TaskQueue*>(erased)->help(); }, &queue,
                        int(std::min<Index>(helpers, count - 1))};
    process_v1::thread_pool.open(job);
    queue.work();
    if (!process_v1::thread_pool.finish(job))
        throw Error("parallel_for: a task called fork(), and in the child the other threads' tasks are lost");
    queue.rethrow_failure();
}

}  // namespace detail

/// The number of threads that work inside a call: RING_ATTENTION_NUM_THREADS, else the cores that this
/// process may use; fewer where the system refuses threads. No result depends on it.
inline int num_threads() {
    return 1 + detail::num_helpers();
}

/// Sets it for the process. Throws Error where count < 1, or where the system refuses so many threads: then
/// there are as many as before.
inline void set_num_threads(int count) {
    if (count < 1) throw Error("set_num_threads: " + std::to_string(count) + " threads, expected at least 1");
    if (process_v1::thread_pool.size() < 0) detail::default_num_threads();  // throws where it is nonsense
    if (const int error = process_v1::thread_pool.resize(count - 1))
        throw Error("set_num_threads: the system refused " + std::to_string(count) +
                    " threads: " + std::generic_category().message(error));
}

/// Calls task(0) ... task(count - 1), in any order and on any thread. For the bits to be the same with any
/// number of threads, no two tasks may write to one place and what a task does may depend on its number
/// alone. The first exception of a task ends the rest and is thrown here. Where a task calls fork(), the
/// child should end inside it: what other threads had begun is lost there, which is an Error.
template <class Task>
void parallel_for(Index count, const Task& task) {
    detail::run_tasks(count, detail::TaskReference(task));
}

/// parallel_for where one call of f is too little to be a task: tasks are runs of `run_length` calls.
template <class F>
void parallel_for_in_runs(Index count, Index run_length, const F& f) {
    parallel_for((count + run_length - 1) / run_length, [&](Index run) {
        const Index end = std::min(count, (run + 1) * run_length);
        for (Index i = run * run_length; i < end; ++i) f(i);
    });
}

}  // namespace ring_attention::inline RING_ATTENTION_ABI
