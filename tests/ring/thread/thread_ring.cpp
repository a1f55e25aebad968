#include <atomic>
#include <stdexcept>
#include <vector>

#include <doctest/doctest.h>

#include <ring_attention/ring/local_ring.hpp>
#include <ring_attention/ring/thread/thread_ring.hpp>

#include "support/error_message.hpp"
#include "support/hops.hpp"
#include "support/num_threads.hpp"
#include "support/sums.hpp"

namespace ra = ring_attention;

TEST_CASE("thread ring: every rank is there once") {
    for (const int ranks : {1, 2, 7}) {
        std::vector<std::atomic<int>> seen(static_cast<std::size_t>(ranks));
        ra::ThreadRing::run(ranks, [&](ra::ThreadRing& ring) {
            if (ring.ranks() != ranks) throw std::runtime_error("another number of ranks");
            ++seen[std::size_t(ring.rank())];
        });
        for (const auto& count : seen) CHECK(count == 1);
    }
    CHECK_REFUSES(ra::ThreadRing::run(0, [](ra::ThreadRing&) {}), "0 ranks", "at least 1");
}

TEST_CASE("rings: the sums meets the ranks in order and ends the same on all, whatever its size") {
    for (const std::size_t size : support::sizes_of_sums()) {
        CAPTURE(size);
        ra::LocalRing local;
        CHECK(support::sums_in_rank_order(local, size) == support::expected_sums(1, size));
        for (const int ranks : {1, 2, 3, 5})
            ra::ThreadRing::run(ranks, [&](ra::ThreadRing& ring) {
                if (support::sums_in_rank_order(ring, size) != support::expected_sums(ranks, size))
                    throw std::runtime_error("another sums");
            });
    }
}

TEST_CASE(
    "rings: a hop sends to the rank before and receives from the rank after, two channels side by side") {
    const auto hop = [](auto& ring) {
        std::vector<int> sent{ring.rank(), 7}, d_sent{-ring.rank()}, received(2), d_received(1);
        const auto start = [&](ra::Channel channel, const std::vector<int>& from, std::vector<int>& to) {
            return support::start_round(ring, channel, std::as_bytes(std::span(from)),
                                        std::as_writable_bytes(std::span(to)));
        };
        auto keys = start(ra::Channel::key_value, sent, received);
        auto gradients = start(ra::Channel::gradient, d_sent, d_received);
        gradients.finish();
        keys.finish();
        const int after = (ring.rank() + 1) % ring.ranks();
        if (received != std::vector<int>{after, 7} || d_received != std::vector<int>{-after})
            throw std::runtime_error("another message");
    };
    ra::LocalRing local;
    CHECK_NOTHROW(hop(local));
    for (const int ranks : {1, 2, 3, 6}) CHECK_NOTHROW(ra::ThreadRing::run(ranks, hop));
}

TEST_CASE("rings: a hop has messages to and from any ranks, those between two ranks in their order") {
    ra::LocalRing local;
    CHECK(support::all_messages_arrive(local));
    for (const int ranks : {1, 2, 3, 6})
        for (const bool overlap : {true, false})
            ra::ThreadRing::run(
                ranks,
                [](ra::ThreadRing& ring) {
                    for (int hop = 0; hop < 3; ++hop)
                        if (!support::all_messages_arrive(ring)) throw std::runtime_error("another message");
                },
                ra::EmulatedLink{.latency = 1e-3, .overlap = overlap});
}

TEST_CASE("thread ring: ranks whose tasks are a task's of one that waits for them") {
    const support::NumThreads two(2);
    std::atomic<int> calls = 0;
    ra::parallel_for(3, [&](ra::Index) {
        ra::ThreadRing::run(2, [&](ra::ThreadRing&) { ra::parallel_for(5, [&](ra::Index) { ++calls; }); });
    });
    CHECK(calls == 3 * 2 * 5);
}

TEST_CASE("thread ring: a message of another size is an error on the rank that waits for it") {
    CHECK_REFUSES(
        ra::ThreadRing::run(2,
                            [](ra::ThreadRing& ring) {
                                std::vector<std::byte> sent(4), received(ring.rank() == 0 ? 4 : 8);
                                support::start_round(ring, ra::Channel::key_value, sent, received).finish();
                            }),
        "4 bytes", "expected 8");
}
