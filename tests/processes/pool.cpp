// What becomes of the pool when processes fork and end. The argument names the case; the exit code is 0 where
// all is well.

#include <atomic>
#include <cstring>
#include <functional>
#include <map>
#include <string>
#include <thread>

#include <ring_attention/core/parallel.hpp>

#include "processes/ends.hpp"
#include "support/together.hpp"

namespace ra = ring_attention;
using processes::child_ends_well;
using processes::require;

namespace {

ra::Index sum_of_tasks(ra::Index count) {
    std::atomic<ra::Index> sum = 0;
    ra::parallel_for(count, [&](ra::Index i) { sum += i; });
    return sum;
}

void require_threads(int count) {
    require(ra::num_threads() == count, "num_threads()");
    require(support::together(count, [](ra::Index) {}), "every thread takes a task");
    require(sum_of_tasks(100) == 4950, "every task is run once");
}

/// A thread that calls parallel_for all the time.
struct Busy {
    std::atomic<bool> done = false;
    std::jthread thread{[this] {
        while (!done) sum_of_tasks(4);
    }};
    ~Busy() { done = true; }
};

/// Its destructor uses the pool when main has returned, and the thread's objects are gone.
struct AtExit {
    bool armed = false;
    ~AtExit() {
        if (!armed) return;
        require_threads(3);
        ra::set_num_threads(2);
        require_threads(2);
        const ra::Buffer<double> memory(1000);
    }
} at_exit;

void child_has_a_pool() {
    require(child_ends_well([] { require_threads(3); }), "before the pool began");
    require_threads(3);
    require(child_ends_well([] { require_threads(3); }), "after it");
    require(child_ends_well([] {
                require(child_ends_well([] { require_threads(3); }), "a grandchild");
                require_threads(3);
            }),
            "a child with a child");
    require(child_ends_well([] {}), "a child that does nothing but exit");
    require(child_ends_well([] { at_exit.armed = true; }), "a child whose first call is at its exit");
    ra::set_num_threads(2);
    require(child_ends_well([] { require_threads(2); }), "as many threads as set in the parent");
    require_threads(2);
}

void child_sets_threads() {
    require_threads(3);
    for (const int count : {1, 2, 5})
        require(child_ends_well([&] {
                    ra::set_num_threads(count);
                    require_threads(count);
                }),
                "set_num_threads");
    require_threads(3);
}

void fork_beside_a_call() {
    const Busy busy;
    for (int i = 0; i < 30; ++i) require(child_ends_well([] { require_threads(3); }), "a child");
    require(sum_of_tasks(100) == 4950, "the parent goes on");
}

/// Where every thread is in a task, and this one forks in its own. The child falls out of the task.
int forks_in_task(bool on_caller) {
    const auto caller = std::this_thread::get_id();
    std::atomic<pid_t> child = 0;
    std::atomic<bool> done = false;
    bool lost = false;
    try {
        support::together(2, [&](ra::Index) {
            if ((std::this_thread::get_id() == caller) != on_caller)
                return void(support::comes_true([&] { return done.load(); }));
            const pid_t forked = fork();
            if (forked == 0) processes::limit_time();
            child = forked;
            done = true;
        });
    } catch (const ra::Error& error) {
        lost = std::strstr(error.what(), "fork()") != nullptr;
    }
    if (child == 0) {
        require(lost, "an Error in the child");
        require_threads(2);
        std::exit(0);
    }
    require(!lost, "none in the parent");
    require(sum_of_tasks(100) == 4950, "the parent goes on");
    int status = -1;
    waitpid(child, &status, 0);
    return status;
}

void fork_in_task() {
    ra::set_num_threads(2);
    int status = forks_in_task(true);
    require(WIFEXITED(status) && WEXITSTATUS(status) == 0,
            "an Error where the caller's thread is the child's");
    status = forks_in_task(false);
    require(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT, "an end where a helper's is");
    // A child that ends inside its task, after work of its own, as it should.
    std::atomic<int> well = 0;
    ra::parallel_for(
        4, [&](ra::Index) { well += child_ends_well([] { require(sum_of_tasks(10) == 45, "sum"); }); });
    require(well == 4, "children that end inside their tasks");
    // Where nobody helped, nothing is lost.
    ra::set_num_threads(1);
    require(child_ends_well([] {}), "a child");
    pid_t child = -1;
    ra::Index tasks = 0;
    ra::parallel_for(3, [&](ra::Index i) {
        if (i == 1) child = fork();
        ++tasks;
    });
    require(tasks == 3, "every task in both");
    if (child == 0) std::exit(0);
    require(waitpid(child, &status, 0) == child && status == 0, "the child of one thread");
}

void use_at_exit() {
    require_threads(3);
    at_exit.armed = true;
}

void exit_in_a_task() {
    ra::parallel_for(3, [](ra::Index i) {
        if (i == 2) std::exit(0);
    });
    require(false, "an end");
}

/// A thread's object that is destroyed after what the library keeps for the thread.
struct AtThreadEnd {
    ~AtThreadEnd() {
        require(sum_of_tasks(100) == 4950, "tasks");
        const ra::Buffer<double> memory(1000);
    }
};

void use_at_thread_end() {
    for (int i = 0; i < 3; ++i)
        std::jthread([] {
            static thread_local AtThreadEnd last;
            static_cast<void>(&last);
            sum_of_tasks(10);
        });
    ra::parallel_for(30, [](ra::Index) {
        static thread_local AtThreadEnd last;
        static_cast<void>(&last);
    });
    ra::set_num_threads(1);  // the helpers end
}

void exit_beside_a_call() {
    require_threads(3);
    static Busy* const busy = new Busy;
    static_cast<void>(busy);
}

}  // namespace

int main(int argc, char** argv) {
    processes::limit_time();
    setenv("RING_ATTENTION_NUM_THREADS", "3", 1);
    const std::map<std::string, std::function<void()>> cases{{"child_has_a_pool", child_has_a_pool},
                                                             {"child_sets_threads", child_sets_threads},
                                                             {"fork_beside_a_call", fork_beside_a_call},
                                                             {"fork_in_task", fork_in_task},
                                                             {"use_at_exit", use_at_exit},
                                                             {"exit_in_a_task", exit_in_a_task},
                                                             {"exit_beside_a_call", exit_beside_a_call},
                                                             {"use_at_thread_end", use_at_thread_end}};
    require(argc == 2, "one argument");
    cases.at(argv[1])();
    return 0;
}
