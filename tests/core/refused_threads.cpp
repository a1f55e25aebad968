#include "support/refused_threads.hpp"

#include <doctest/doctest.h>

#include <ring_attention/core/parallel.hpp>

#include "support/error_message.hpp"
#include "support/num_threads.hpp"
#include "support/together.hpp"

namespace ra = ring_attention;
using ra::process_v1::ThreadPool;
using support::ThreadsLeft;

TEST_CASE("refused threads: at the start, half of those that were given stay") {
    static ThreadPool wanted_and_given[3];  // a pool is never destroyed
    {
        const ThreadsLeft left(0);
        CHECK(wanted_and_given[0].start([] { return 63; }) == 0);
    }
    {
        const ThreadsLeft left(9);
        CHECK(wanted_and_given[1].start([] { return 63; }) == 4);
    }
    CHECK(wanted_and_given[1].start([] { return 63; }) == 4);  // it has begun
    {
        const ThreadsLeft left(3);
        CHECK(wanted_and_given[2].start([] { return 3; }) == 3);
    }
}

TEST_CASE("refused threads: set_num_threads says so, and there are as many as before") {
    for (const int before : {1, 3}) {
        const support::NumThreads threads(before);
        for (const int given : {0, 1, 5}) {
            const ThreadsLeft left(given);
            CHECK_REFUSES(ra::set_num_threads(64), "set_num_threads", "64 threads",
                          "Resource temporarily unavailable");
            CHECK(ra::num_threads() == before);
        }
        CHECK(support::together(before, [](ra::Index) {}));
        ra::set_num_threads(4);  // there are some again
        CHECK(support::together(4, [](ra::Index) {}));
    }
}
