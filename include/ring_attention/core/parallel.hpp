#pragma once

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>

#include <unsupported/Eigen/CXX11/ThreadPool>

#include <ring_attention/core/between_tasks.hpp>
#include <ring_attention/core/error.hpp>
#include <ring_attention/core/types.hpp>

namespace ring_attention::inline RING_ATTENTION_ABI {

namespace detail {

/// RING_ATTENTION_NUM_THREADS where it is set, else the cores.
inline int default_num_threads() {
    const char* given = std::getenv("RING_ATTENTION_NUM_THREADS");
    if (given == nullptr || *given == '\0') return std::max(1, int(std::thread::hardware_concurrency()));
    char* end = nullptr;
    const long count = std::strtol(given, &end, 10);
    if (*end != '\0' || count < 1 || count > 4096)
        throw Error("RING_ATTENTION_NUM_THREADS is '" + std::string(given) +
                    "', expected a number from 1 to 4096");
    return int(count);
}

/// Eigen's pool, with tasks that need no memory of their own.
struct PoolEnvironment {
    struct Task {
        std::function<void()> f;
    };
    using EnvThread = Eigen::StlThreadEnvironment::EnvThread;

    EnvThread* CreateThread(std::function<void()> f) { return standard.CreateThread(std::move(f)); }
    Task CreateTask(std::function<void()> f) { return {std::move(f)}; }
    void ExecuteTask(const Task& task) { task.f(); }

    Eigen::StlThreadEnvironment standard;
};

using Pool = Eigen::ThreadPoolTempl<PoolEnvironment>;

/// The one pool of the process. The thread that calls parallel_for works too, so it has one thread less.
class SharedPool {
  public:
    static SharedPool& instance() {
        static SharedPool pool(default_num_threads());
        return pool;
    }

    int num_threads() {
        const std::lock_guard lock(mutex_);
        return num_threads_;
    }

    void resize(int num_threads) {
        const std::lock_guard lock(mutex_);
        if (num_threads == num_threads_) return;
        workers_ = start(num_threads);
        num_threads_ = num_threads;
    }

    /// Work that is under way keeps the pool it began on.
    std::shared_ptr<Pool> workers() {
        const std::lock_guard lock(mutex_);
        return workers_;
    }

  private:
    explicit SharedPool(int num_threads) : workers_(start(num_threads)), num_threads_(num_threads) {}

    static std::shared_ptr<Pool> start(int num_threads) {
        return num_threads > 1 ? std::make_shared<Pool>(num_threads - 1) : nullptr;
    }

    std::mutex mutex_;
    std::shared_ptr<Pool> workers_;
    int num_threads_;
};

/// True on a thread that is inside a task: a parallel_for in there runs on that thread alone, so that no
/// worker ever waits for another.
inline thread_local bool inside_task = false;

struct InsideTask {
    InsideTask() { inside_task = true; }
    ~InsideTask() { inside_task = false; }
    InsideTask(const InsideTask&) = delete;
    InsideTask& operator=(const InsideTask&) = delete;
};

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

/// The tasks of one parallel_for: whoever is free takes the next; the first exception ends the rest.
class TaskQueue {
  public:
    TaskQueue(Index count, const TaskReference& task) : count_(count), task_(task) {}

    void work() noexcept {
        const InsideTask mark;
        for (Index next = taken_++; next < count_; next = taken_++) {
            BetweenTasks::run();
            try {
                task_(next);
            } catch (...) {
                const std::lock_guard lock(mutex_);
                if (!failure_) failure_ = std::current_exception();
                taken_ = count_;
            }
        }
    }

    void rethrow_failure() {
        if (failure_) std::rethrow_exception(failure_);
    }

  private:
    const Index count_;
    const TaskReference task_;
    std::atomic<Index> taken_{0};
    std::mutex mutex_;
    std::exception_ptr failure_;
};

/// The others are done soon after: to be woken from sleep would often take longer.
inline void wait_for_zero(const std::atomic<unsigned>& number) {
    constexpr int looks = 20000;
    for (int i = 0; i < looks; ++i) {
        if (number == 0) return;
#if defined(__x86_64__) || defined(__i386__)
        __builtin_ia32_pause();
#endif
    }
    for (unsigned now = number; now != 0; now = number) number.wait(now);
}

inline void run_tasks(Index count, const TaskReference& task) {
    const auto workers = count > 1 && !inside_task ? SharedPool::instance().workers() : nullptr;
    if (!workers) {
        for (Index i = 0; i < count; ++i) {
            BetweenTasks::run();
            task(i);
        }
        return;
    }
    TaskQueue queue(count, task);
    const auto helpers = unsigned(std::min<Index>(workers->NumThreads(), count - 1));
    // Of the thread, not of the call: the last helper notifies it when the call may have returned already.
    static thread_local std::atomic<unsigned> at_work_of_thread;
    std::atomic<unsigned>& at_work = at_work_of_thread;
    at_work = helpers;
    for (unsigned i = 0; i < helpers; ++i)
        workers->Schedule([&queue, &at_work] {
            queue.work();
            if (--at_work == 0) at_work.notify_one();
        });
    queue.work();
    wait_for_zero(at_work);
    queue.rethrow_failure();
}

}  // namespace detail

/// The number of threads that work inside a call: RING_ATTENTION_NUM_THREADS, else the cores. No result
/// depends on it.
inline int num_threads() {
    return detail::SharedPool::instance().num_threads();
}

/// Sets it for the process. Throws Error where count < 1.
inline void set_num_threads(int count) {
    if (count < 1) throw Error("set_num_threads: " + std::to_string(count) + " threads, expected at least 1");
    detail::SharedPool::instance().resize(count);
}

/// Calls task(0) ... task(count - 1), in any order and on any thread. For the bits to be the same with any
/// number of threads, no two tasks may write to one place and what a task does may depend on its number
/// alone.
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
