// One type for every ring: what a reference does is what its ring does, and nothing of a hop is lost.

#include <array>
#include <concepts>
#include <optional>
#include <stdexcept>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

#include <ring_attention/ring/local_ring.hpp>
#include <ring_attention/ring/ring_reference.hpp>
#include <ring_attention/ring/thread/thread_ring.hpp>

#include "support/hops.hpp"
#include "support/sums.hpp"

namespace ra = ring_attention;

namespace {

static_assert(ra::Ring<ra::RingReference> && std::copyable<ra::RingReference>);
static_assert(std::convertible_to<ra::ThreadRing&, ra::RingReference>);
static_assert(!std::convertible_to<const ra::LocalRing&, ra::RingReference>);  // it could log nothing
static_assert(!std::convertible_to<int&, ra::RingReference>);
static_assert(std::movable<ra::RingReference::Hop> && !std::copyable<ra::RingReference::Hop>);

/// A ring that tells what becomes of its hops, which are large and cannot be moved.
struct TellingRing {
    struct Counts {
        int started = 0, finished = 0, ended = 0, ended_unfinished = 0;
        bool operator==(const Counts&) const = default;
    };

    struct Hop {
        Counts& counts;
        bool done = false;
        std::array<double, 100> much{};

        explicit Hop(Counts& of_ring) : counts(of_ring) { ++counts.started; }
        Hop(const Hop&) = delete;
        Hop& operator=(const Hop&) = delete;
        ~Hop() {
            ++counts.ended;
            if (!done) ++counts.ended_unfinished;
        }
        void finish() {
            ++counts.finished;
            done = true;
        }
    };

    Counts counts;
    ra::RingLog own_log;

    int rank() const { return 3; }
    int ranks() const { return 7; }
    Hop start_hop(const ra::HopMessages& messages) {
        if (messages.channel == ra::Channel::collective) throw std::runtime_error("no such hop");
        return Hop(counts);
    }
    void sum_in_rank_order(std::span<std::byte>, auto&&) { throw std::runtime_error("no sums"); }
    ra::RingLog& log() { return own_log; }
};

}  // namespace

TEST_CASE("ring reference: rank, ranks and log are those of the ring, also in a copy that lives longer") {
    TellingRing ring;
    std::optional<ra::RingReference> first(ring);
    ra::RingReference copy = *first;
    first.reset();
    CHECK(copy.rank() == 3);
    CHECK(copy.ranks() == 7);
    CHECK(&copy.log() == &ring.own_log);
}

TEST_CASE("ring reference: a hop that is moved about is finished once, and ends once") {
    TellingRing ring;
    const ra::RingReference reference = ring;
    {
        auto first = reference.start_hop({ra::Channel::key_value});
        auto second = std::move(first);
        std::optional<ra::RingReference::Hop> third(std::move(second));
        CHECK(ring.counts == TellingRing::Counts{1, 0, 0, 0});
        third->finish();
        CHECK(ring.counts == TellingRing::Counts{1, 1, 0, 0});
        first.finish();  // it has nothing left to finish
    }
    CHECK(ring.counts == TellingRing::Counts{1, 1, 1, 0});
}

TEST_CASE("ring reference: a hop that is never finished ends as the ring's own does") {
    TellingRing ring;
    const ra::RingReference reference = ring;
    try {
        auto first = reference.start_hop({ra::Channel::key_value});
        auto second = reference.start_hop({ra::Channel::gradient});
        first = std::move(second);
        throw std::runtime_error("an error unwinds");
    } catch (const std::runtime_error&) {
    }
    CHECK(ring.counts == TellingRing::Counts{2, 0, 2, 2});
}

TEST_CASE("ring reference: what the ring throws comes through") {
    TellingRing ring;
    const ra::RingReference reference = ring;
    CHECK_THROWS_AS(reference.start_hop({ra::Channel::collective}), std::runtime_error);
    CHECK_THROWS_AS(support::sums_in_rank_order(reference, 1), std::runtime_error);
    CHECK(ring.counts == TellingRing::Counts{});
}

TEST_CASE("ring reference: messages and sums arrive as on the ring itself") {
    const auto works = [](ra::RingReference ring, int ranks) {
        int number = -1;
        if (ring.rank() > 0) {
            number = 10 + ring.rank();
            ring.send(0, ra::Channel::collective, std::as_bytes(std::span(&number, 1)));
            ring.send(0, ra::Channel::collective, {});
        }
        for (int from = 1; ring.rank() == 0 && from < ranks; ++from) {
            ring.receive(from, ra::Channel::collective, {});
            ring.receive(from, ra::Channel::collective, std::as_writable_bytes(std::span(&number, 1)));
            if (number != 10 + from) throw std::runtime_error("another number");
        }
        for (const std::size_t size : support::sizes_of_sums())
            if (support::sums_in_rank_order(ring, size) != support::expected_sums(ranks, size))
                throw std::runtime_error("other sums");
        if (!support::all_messages_arrive(ring)) throw std::runtime_error("other messages");
    };
    CHECK_NOTHROW(works(ra::LocalRing(), 1));
    for (const int ranks : {1, 2, 3, 5})
        CHECK_NOTHROW(ra::ThreadRing::run(ranks, [&](ra::ThreadRing& ring) { works(ring, ranks); }));
}
