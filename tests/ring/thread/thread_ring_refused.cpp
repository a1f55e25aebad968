#include <atomic>
#include <cstddef>
#include <cstdlib>
#include <new>
#include <vector>

#include <doctest/doctest.h>

#include <ring_attention/ring/thread/thread_ring.hpp>

#include "support/error_message.hpp"
#include "support/refused_threads.hpp"

namespace ra = ring_attention;

namespace {

/// Of this thread: how many requests for memory it is still given.
thread_local int requests_left = 1 << 30;

struct Counts {
    std::atomic<int> begun = 0, ended = 0;
};

/// Passes a sums around: every rank waits for the one before.
void go_round(int ranks, Counts& counts) {
    ra::ThreadRing::run(ranks, [&](ra::ThreadRing& ring) {
        ++counts.begun;
        const struct End {
            std::atomic<int>& ended;
            ~End() { ++ended; }
        } end{counts.ended};
        std::vector<std::byte> sums(8);
        const auto receive = [&] {
            ring.receive((ring.rank() + ranks - 1) % ranks, ra::Channel::key_value, sums);
        };
        if (ring.rank() > 0) receive();
        ring.send((ring.rank() + 1) % ranks, ra::Channel::key_value, sums);
        if (ring.rank() == 0) receive();
    });
}

}  // namespace

[[gnu::noinline]] void* operator new(std::size_t size) {
    void* const data = --requests_left < 0 ? nullptr : std::malloc(size);
    if (data == nullptr) throw std::bad_alloc();
    return data;
}
[[gnu::noinline]] void operator delete(void* data) noexcept {
    std::free(data);
}
[[gnu::noinline]] void operator delete(void* data, std::size_t) noexcept {
    std::free(data);
}

TEST_CASE("thread ring: memory refused while it starts is an error, and no rank is left") {
    for (const int ranks : {1, 2, 5}) {
        int given = 0;
        for (bool refused = true; refused; ++given) {
            REQUIRE(given < 100);
            Counts counts;
            requests_left = given;
            try {
                go_round(ranks, counts);
                refused = false;
            } catch (const std::bad_alloc&) {
            }
            requests_left = 1 << 30;
            CHECK(counts.begun == counts.ended);
        }
        CHECK(given > ranks);  // each has some memory
    }
}

TEST_CASE("thread ring: a refused thread is an error that names the rank, and no other is left") {
    for (const int given : {0, 1, 4}) {
        const support::ThreadsLeft left(given);
        Counts counts;
        CHECK_REFUSES(go_round(6, counts), "rank " + std::to_string(given) + " of 6", "no thread");
        CHECK(counts.begun == given);
        CHECK(counts.ended == given);
    }
}
