// The ranks of these rings compute next to nothing, and their messages take seconds by their clocks: the
// processor time that they do take is far within the tolerance.

#include <chrono>
#include <limits>
#include <thread>
#include <vector>

#include <doctest/doctest.h>

#include <ring_attention/attention/operator.hpp>
#include <ring_attention/ring/thread/thread_ring.hpp>
#include <ring_attention/sequence/scatter.hpp>

#include "support/attention_case.hpp"
#include "support/error_message.hpp"
#include "support/hops.hpp"

namespace {

namespace ra = ring_attention;

bool is_about(double seconds, double expected) {
    return seconds >= expected - 1e-9 && seconds < expected + 0.1;
}

/// What each rank's clock shows at the end.
std::vector<double> seconds_of_ranks(int ranks, const std::optional<ra::EmulatedLink>& link,
                                     const auto& rank_main) {
    std::vector<double> seconds(std::size_t(ranks), -1);
    ra::ThreadRing::run(
        ranks,
        [&](ra::ThreadRing& ring) {
            rank_main(ring);
            seconds[std::size_t(ring.rank())] = ring.seconds();
        },
        link);
    return seconds;
}

void check_seconds(const std::vector<double>& seconds, const std::vector<double>& expected) {
    REQUIRE(seconds.size() == expected.size());
    for (std::size_t rank = 0; rank < seconds.size(); ++rank) {
        INFO("rank ", rank, ": ", seconds[rank], " s, expected ", expected[rank]);
        CHECK(is_about(seconds[rank], expected[rank]));
    }
}

/// A hop of so many bytes that begins now.
auto start_hop(ra::ThreadRing& ring, ra::Channel channel, std::size_t bytes_sent,
               std::vector<std::byte>& received) {
    const std::vector<std::byte> sent(bytes_sent);  // ThreadRing keeps a copy
    return support::start_round(ring, channel, sent, received);
}

/// Rank 1 sends messages of these sizes, one a channel, and rank 0 receives them, the last one first.
std::vector<double> send_two(const ra::EmulatedLink& link, std::size_t first, std::size_t second) {
    return seconds_of_ranks(2, link, [&](ra::ThreadRing& ring) {
        std::vector<std::byte> one(first), two(second);
        if (ring.rank() == 1) {
            ring.send(0, ra::Channel::key_value, one);
            ring.send(0, ra::Channel::gradient, two);
        } else {
            ring.receive(1, ra::Channel::gradient, two);
            ring.receive(1, ra::Channel::key_value, one);
        }
    });
}

/// Burns processor time until the rank's clock has gone on by so much.
void compute(ra::ThreadRing& ring, double seconds) {
    for (const double end = ring.seconds() + seconds; ring.seconds() < end;) {
    }
}

}  // namespace

TEST_CASE("emulated link: a message takes its bytes' time and then the latency") {
    check_seconds(send_two({.latency = 3, .bytes_per_second = 10}, 40, 0), {4 + 3, 0});
    check_seconds(send_two({.latency = 3}, 40, 50), {3, 0});
}

TEST_CASE("emulated link: all channels share a rank's link, first come first served") {
    check_seconds(send_two({.bytes_per_second = 10}, 40, 20), {6, 0});
    check_seconds(send_two({.latency = 1, .bytes_per_second = 10}, 20, 50), {8, 0});
}

TEST_CASE("emulated link: of a hop, the part beyond what is computed meanwhile is waited for") {
    for (const double computed : {0.0, 0.2, 0.6}) {
        const auto seconds = seconds_of_ranks(
            3, ra::EmulatedLink{.latency = 0.125, .bytes_per_second = 64}, [&](ra::ThreadRing& ring) {
                std::vector<std::byte> received(16);
                auto hop = start_hop(ring, ra::Channel::key_value, 16, received);
                compute(ring, computed);
                hop.finish();
                hop.finish();  // changes nothing
            });
        check_seconds(seconds, std::vector<double>(3, std::max(0.375, computed)));
    }
}

TEST_CASE("emulated link: a hop is not over before what the rank sends has left") {
    // 2 sends 64 bytes to 1, 0 and 1 send none.
    const auto seconds =
        seconds_of_ranks(3, ra::EmulatedLink{.latency = 1, .bytes_per_second = 16}, [](ra::ThreadRing& ring) {
            std::vector<std::byte> received(ring.rank() == 1 ? 64 : 0);
            start_hop(ring, ra::Channel::key_value, ring.rank() == 2 ? 64 : 0, received).finish();
        });
    check_seconds(seconds, {0, 5, 4});
}

TEST_CASE("emulated link: without overlap a hop is over before start_hop returns") {
    for (const bool overlap : {true, false}) {
        const auto seconds = seconds_of_ranks(
            2, ra::EmulatedLink{.bytes_per_second = 32, .overlap = overlap}, [&](ra::ThreadRing& ring) {
                std::vector<std::byte> received(16), d_received(8);
                auto keys = start_hop(ring, ra::Channel::key_value, 16, received);
                if (!is_about(ring.seconds(), overlap ? 0 : 0.5)) throw ra::Error("another time");
                auto gradients = start_hop(ring, ra::Channel::gradient, 8, d_received);
                compute(ring, 0.6);
                gradients.finish();
                keys.finish();
            });
        check_seconds(seconds, std::vector<double>(2, overlap ? 0.75 : 0.75 + 0.6));
    }
}

TEST_CASE("emulated link: a rank waits for the slow one, link by link around the ring") {
    const auto hops = [](ra::ThreadRing& ring) {
        if (ring.rank() == 0) compute(ring, 0.5);
        for (int hop = 0; hop < 2; ++hop) {
            std::vector<std::byte> received(1);
            start_hop(ring, ra::Channel::key_value, 1, received).finish();
        }
    };
    // 3 receives from 0, 2 from 3.
    check_seconds(seconds_of_ranks(4, ra::EmulatedLink{.bytes_per_second = 1}, hops), {2.5, 2, 2.5, 2.5});
}

TEST_CASE("emulated link: a rank's clock stands still while its thread sleeps") {
    const auto seconds = seconds_of_ranks(2, ra::EmulatedLink{}, [](ra::ThreadRing& ring) {
        if (ring.rank() == 1) std::this_thread::sleep_for(std::chrono::milliseconds(300));
        std::vector<std::byte> received(1);
        start_hop(ring, ra::Channel::key_value, 1, received).finish();
    });
    check_seconds(seconds, {0, 0});
}

TEST_CASE("emulated link: the timeline shows in emulated time what is sent and waited for") {
    std::vector<std::vector<ra::TimelineEvent>> events(2);
    ra::ThreadRing::run(
        2,
        [&](ra::ThreadRing& ring) {
            ra::Timeline timeline([&ring] { return ring.seconds(); });
            ring.log().timeline = &timeline;
            const std::size_t sent = ring.rank() == 0 ? 50 : 20;
            std::vector<std::byte> received(70 - sent), d_received(20);
            auto keys = start_hop(ring, ra::Channel::key_value, sent, received);
            auto gradients = start_hop(ring, ra::Channel::gradient, 20, d_received);
            keys.finish();
            gradients.finish();
            events[std::size_t(ring.rank())] = timeline.take();
        },
        ra::EmulatedLink{.latency = 1, .bytes_per_second = 20});

    const auto check = [](const ra::TimelineEvent& event, ra::Activity activity, const char* name,
                          double begin, double end) {
        CHECK(event.activity == activity);
        CHECK(event.name == name);
        CHECK(is_about(event.begin, begin));
        CHECK(is_about(event.end, end));
    };
    REQUIRE(events[0].size() == 6);
    check(events[0][0], ra::Activity::send, "to rank 1, 50 bytes", 0, 2.5);
    check(events[0][1], ra::Activity::send, "to rank 1, 20 bytes", 2.5, 3.5);
    check(events[0][2], ra::Activity::wait, "for rank 1", 0, 2);
    check(events[0][3], ra::Activity::wait, "for the link", 2, 2.5);
    check(events[0][4], ra::Activity::wait, "for rank 1", 2.5, 3);
    check(events[0][5], ra::Activity::wait, "for the link", 3, 3.5);
    REQUIRE(events[1].size() == 4);
    check(events[1][0], ra::Activity::send, "to rank 0, 20 bytes", 0, 1);
    check(events[1][1], ra::Activity::send, "to rank 0, 20 bytes", 1, 2);
    check(events[1][2], ra::Activity::wait, "for rank 0", 0, 3.5);
    check(events[1][3], ra::Activity::wait, "for rank 0", 3.5, 4.5);
}

TEST_CASE("emulated link: attention has the same bits, and computes in emulated time") {
    const support::AttentionCase<float> c({1, 5, 23, 4}, support::Scores::ordinary);
    const ra::AttentionOptions options{.num_chunks = 4, .layout = ra::Layout::zigzag};
    const auto run = [&](const std::optional<ra::EmulatedLink>& link) {
        std::vector<support::AttentionRun<float>> runs(3);
        const auto seconds = seconds_of_ranks(3, link, [&](ra::ThreadRing& ring) {
            const ra::Share share = ra::share(ring, 23, options.num_chunks, options.layout);
            const auto own = [&](const ra::Tensor<float, 4>& whole) {
                return ra::tokens_of(whole, share, 2);
            };
            const auto q = own(c.q), k = own(c.k), v = own(c.v), d_output = own(c.d_output);
            auto& [result, gradient] = runs[std::size_t(ring.rank())];
            result = ra::attention(q, k, v, options, ring);
            gradient = ra::attention_backward(d_output, q, k, v, result, options, ring);
        });
        return std::pair(runs, seconds);
    };
    const auto expected = run({}).first;
    for (const bool overlap : {true, false}) {
        const auto [runs, seconds] =
            run(ra::EmulatedLink{.latency = 1, .bytes_per_second = 1e6, .overlap = overlap});
        for (std::size_t rank = 0; rank < 3; ++rank) {
            CHECK(support::same_bits(runs[rank], expected[rank]));
            CHECK(seconds[rank] > 5);  // five hops at least
            CHECK(seconds[rank] < 60);
        }
    }
}

TEST_CASE("emulated link: a rank that fails ends the others, and what makes no sense is refused") {
    const auto nothing = [](ra::ThreadRing&) {};
    CHECK_REFUSES(ra::ThreadRing::run(2, nothing, ra::EmulatedLink{.latency = -1}), "latency -1",
                  "at least 0");
    CHECK_REFUSES(ra::ThreadRing::run(2, nothing, ra::EmulatedLink{.bytes_per_second = 0}), "0.0", "bytes/s");
    CHECK_REFUSES(ra::ThreadRing::run(
                      3,
                      [](ra::ThreadRing& ring) {
                          if (ring.rank() == 1) throw ra::Error("rank 1 fails");
                          std::vector<std::byte> received(1);
                          start_hop(ring, ra::Channel::key_value, 1, received).finish();
                          start_hop(ring, ra::Channel::key_value, 1, received).finish();
                      },
                      ra::EmulatedLink{.overlap = false}),
                  "rank 1 fails");
}
