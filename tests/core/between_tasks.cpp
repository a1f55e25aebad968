#include <atomic>
#include <thread>
#include <vector>

#include <doctest/doctest.h>

#include <ring_attention/core/parallel.hpp>

#include "support/num_threads.hpp"

namespace {

namespace ra = ring_attention;
using ra::detail::BetweenTasks;

/// Counts its calls, and those from another thread than its own.
struct Calls {
    std::atomic<int> all = 0, of_others = 0;
    std::thread::id own = std::this_thread::get_id();

    static void count(void* calls) {
        auto& self = *static_cast<Calls*>(calls);
        ++self.all;
        if (std::this_thread::get_id() != self.own) ++self.of_others;
    }
};

}  // namespace

TEST_CASE("between tasks: called before each task that the calling thread takes, and on no other thread") {
    for (const int num_threads : {1, 3}) {
        const support::NumThreads threads(num_threads);
        Calls calls;
        BetweenTasks between(Calls::count, &calls);
        std::atomic<int> own_tasks = 0;
        const auto count_own_tasks = [&](ra::Index) {
            if (std::this_thread::get_id() == calls.own) ++own_tasks;
        };
        ra::parallel_for(20, count_own_tasks);
        CHECK(calls.all == 0);  // it has not begun

        between.begin();
        own_tasks = 0;
        ra::parallel_for(20, count_own_tasks);
        CHECK(calls.all == own_tasks);
        CHECK(calls.of_others == 0);
        if (num_threads == 1) CHECK(calls.all == 20);

        between.end();
        const int before = calls.all;
        ra::parallel_for(20, count_own_tasks);
        CHECK(calls.all == before);
    }
}

TEST_CASE("between tasks: several begin and end in any order, and one may end itself") {
    const support::NumThreads one_thread(1);
    Calls first_calls, second_calls;
    BetweenTasks first(Calls::count, &first_calls), second(Calls::count, &second_calls);
    first.begin();
    second.begin();
    second.begin();  // it has
    {
        struct Once {
            int calls = 0;
            BetweenTasks between{[](void* once) {
                                     auto& self = *static_cast<Once*>(once);
                                     ++self.calls;
                                     self.between.end();
                                 },
                                 this};
        } once;
        once.between.begin();
        ra::parallel_for(3, [](ra::Index) {});
        CHECK(once.calls == 1);
        once.between.begin();  // and its end is that of the object
    }
    CHECK(first_calls.all == 3);
    CHECK(second_calls.all == 3);
    first.end();
    ra::parallel_for(3, [](ra::Index) {});
    CHECK(first_calls.all == 3);
    CHECK(second_calls.all == 6);
}
