#pragma once

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <exception>
#include <mutex>
#include <pthread.h>
#include <type_traits>

#include <ring_attention/core/keep_loaded.hpp>
#include <ring_attention/core/pool_job.hpp>

// The threads that help with every parallel_for of the process. Units that were compiled with other flags,
// and shared objects where the loader can, use this pool together: so names, types and sizes depend on no
// flag, the pool is visible outside of its shared object whatever -fvisibility says, and a change to what
// lies in it is a new version. It is made before any code runs, never destroyed, and throws nothing.

namespace ring_attention {
namespace [[gnu::visibility("default")]] process_v1 {

class ThreadPool {
  public:
    constexpr ThreadPool() = default;
    ThreadPool(const ThreadPool&) = delete;
    ThreadPool& operator=(const ThreadPool&) = delete;

    /// The threads there are; -1 before start(), and in a child of a fork() before it.
    int size() const { return size_; }

    /// Starts wanted() threads, or as many as before the fork(). Where one is refused, half of those that
    /// were given stay: what is left is for what they need.
    int start(int (*wanted)()) {
        const std::lock_guard changing(changing_);
        if (size_ >= 0) return size_;
        if (wanted_ < 0) wanted_ = wanted();
        if (grow(wanted_) != 0) shrink(present_ / 2);
        return size_ = wanted_ = present_;
    }

    /// 0, or the error for which a thread was refused: then there are as many as before.
    int resize(int wanted) {
        const std::lock_guard changing(changing_);
        const int before = present_, error = grow(wanted);
        shrink(error == 0 ? wanted : before);
        if (error == 0) size_ = wanted_ = wanted;
        return error;
    }

    /// From now on others may help.
    void open(Job& job) {
        int woken = 0;
        {
            const std::lock_guard lock(mutex_);
            job.forks = forks_;
            job.next = first_;
            first_ = &job;
            woken = std::min(job.places, asleep_);
            ++open_;
        }
        while (woken-- > 0) pthread_cond_signal(&opened_);
    }

    /// From now on nobody may begin; returns when those who have are done. False where they never will be:
    /// the caller called fork() meanwhile, and this is the child.
    bool finish(Job& job) {
        {
            const std::lock_guard lock(mutex_);
            close(job);
        }
        if (job.at_work != 0 && job.forks != forks_) return false;
        for (int looks = 0; looks < 20000; ++looks) {  // to be woken from sleep would often take longer
            if (job.at_work == 0) return true;
            pause();
        }
        const std::lock_guard lock(mutex_);
        ++waiting_;
        while (job.at_work != 0) sleep(finished_);
        --waiting_;
        return true;
    }

    /// Called before main(), so that no thread can be in a fork() that does not know of the pool while another
    /// starts it: the child would find it locked.
    int watch_forks() {
        const std::lock_guard changing(changing_);
        return watch_forks_once();
    }

  private:
    int watch_forks_once() {
        if (watches_forks_) return 0;
        const int error = pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);
        watches_forks_ = error == 0;
        return error;
    }

    /// A thread of the pool, from beginning to end.
    static void* run(void* pool) {
        static_cast<ThreadPool*>(pool)->help();
        return nullptr;
    }

    void help() {
        Worker self{pthread_self()};
        const std::lock_guard lock(mutex_);
        self.next = workers_;
        workers_ = &self;
        ++present_;
        pthread_cond_broadcast(&entered_);
        const unsigned forks = forks_;
        while (Job* const job = next_job(self)) {
            mutex_.unlock();
            job->work(job->object);
            if (forks_ != forks) end_child();
            self.busy = false;
            // The last touch of the job: its caller may be gone after it.
            if (--job->at_work == 0 && waiting_ != 0) wake_callers();
            for (int looks = 0; looks < 2000 && open_ == 0 && !self.leaving; ++looks) pause();
            mutex_.lock();
        }
    }

    /// Under the lock. Waits for work; null where the worker is to leave.
    Job* next_job(Worker& self) {
        while (first_ == nullptr && !self.leaving) {
            ++asleep_;
            sleep(opened_);
            --asleep_;
        }
        if (self.leaving) return nullptr;
        Job* const job = first_;
        ++job->at_work;
        if (--job->places == 0) close(*job);
        self.busy = true;
        return job;
    }

    /// Under the lock.
    void close(Job& job) {
        for (Job** link = &first_; *link != nullptr; link = &(*link)->next)
            if (*link == &job) {
                *link = job.next;
                --open_;
                return;
            }
    }

    void wake_callers() {
        const std::lock_guard lock(mutex_);
        pthread_cond_broadcast(&finished_);
    }

    /// Under the lock, which is given up meanwhile.
    void sleep(pthread_cond_t& until) { pthread_cond_wait(&until, &mutex_.handle); }

    /// Starts threads until there are so many; returns the error for which one was refused, or 0.
    int grow(int wanted) {
        if (present_ >= wanted) return 0;
        if (const int error = watch_forks_once()) return error;
        keep_loaded(reinterpret_cast<void*>(&run));
        int there = present_, error = 0;
        for (; there < wanted && error == 0; there += error == 0) {
            pthread_t thread;
            error = pthread_create(&thread, nullptr, run, this);
        }
        const std::lock_guard lock(mutex_);
        while (present_ < there) sleep(entered_);
        return error;
    }

    /// Lets threads go until there are so many, and waits for them unless they are at work.
    void shrink(int wanted) {
        while (present_ > wanted) {
            pthread_t thread;
            bool busy = false;
            {
                const std::lock_guard lock(mutex_);
                Worker& worker = *workers_;
                workers_ = worker.next;
                --present_;
                thread = worker.thread;
                busy = worker.busy;
                worker.leaving = true;
                pthread_cond_broadcast(&opened_);
            }
            busy ? pthread_detach(thread) : pthread_join(thread, nullptr);
        }
    }

    static void before_fork();
    static void after_fork_in_parent();
    static void after_fork_in_child();

    /// The child of a fork() that a task called on a thread of the pool: its parallel_for was another
    /// thread's, which is not there.
    [[noreturn]] static void end_child() {
        std::fputs(
            "ring_attention: fork() was called inside a task, whose end the child has reached, on a thread "
            "of the pool; the thread that called parallel_for is not there, so the child ends\n",
            stderr);
        std::terminate();
    }

    Mutex changing_;  ///< held by who starts threads or lets them go; taken before the other one
    std::atomic<int> size_{-1};
    int wanted_ = -1;
    bool watches_forks_ = false;

    Mutex mutex_;  ///< of all that follows, but for reading what is atomic
    Job* first_ = nullptr;
    std::atomic<int> open_{0}, waiting_{0};
    std::atomic<unsigned> forks_{0};  ///< that this process has come from since it began
    int asleep_ = 0, present_ = 0;
    Worker* workers_ = nullptr;
    pthread_cond_t opened_ = PTHREAD_COND_INITIALIZER, finished_ = PTHREAD_COND_INITIALIZER,
                   entered_ = PTHREAD_COND_INITIALIZER;
};

static_assert(std::is_trivially_destructible_v<ThreadPool>);

inline constinit ThreadPool thread_pool;

inline void ThreadPool::before_fork() {
    thread_pool.changing_.lock();
    thread_pool.mutex_.lock();
}

inline void ThreadPool::after_fork_in_parent() {
    thread_pool.mutex_.unlock();
    thread_pool.changing_.unlock();
}

/// The threads are not there: as before start(), but for what is remembered.
inline void ThreadPool::after_fork_in_child() {
    ThreadPool& pool = thread_pool;
    pool.size_ = -1;
    ++pool.forks_;
    pool.first_ = nullptr;
    pool.workers_ = nullptr;
    pool.open_ = pool.waiting_ = pool.asleep_ = pool.present_ = 0;
    pool.opened_ = pool.finished_ = pool.entered_ = PTHREAD_COND_INITIALIZER;
    pool.mutex_.unlock();
    pool.changing_.unlock();
}

inline const int watches_forks = thread_pool.watch_forks();

}  // namespace process_v1
}  // namespace ring_attention
