#include <algorithm>
#include <chrono>
#include <numeric>
#include <thread>
#include <vector>

#include <doctest/doctest.h>

#include <ring_attention/core/parallel.hpp>
#include <ring_attention/ring/mpi/mpi_grid.hpp>
#include <ring_attention/ring/mpi/mpi_ring.hpp>

#include "support/error_message.hpp"
#include "support/mpi_case.hpp"
#include "support/sums.hpp"

namespace {

namespace ra = ring_attention;
using ra::Channel;
using support::rank_after;
using support::start;

/// Numbers that tell the rank and the hop that they come from.
std::vector<int> numbers(int rank, int hop, std::size_t count) {
    std::vector<int> result(count);
    std::iota(result.begin(), result.end(), 1000000 * (rank + 1) + 10000 * hop);
    return result;
}

void check_hops(ra::MpiRing& ring, std::size_t count) {
    for (int hop = 0; hop < 3; ++hop) {
        const auto sent = numbers(ring.rank(), hop, count);
        std::vector<int> received(count);
        start(ring, Channel::key_value, sent, received).finish();
        CHECK(received == numbers(rank_after(ring), hop, count));
    }
}

}  // namespace

TEST_CASE("mpi ring: a hop sends to the rank before and receives from the rank after, whatever the size") {
    for (const auto overlap : support::overlaps()) {
        ra::MpiRing ring(MPI_COMM_WORLD, {.overlap = overlap});
        CHECK(ring.overlap() == overlap);
        for (const std::size_t count : {1, 1000, 2000000}) {
            CAPTURE(count);
            check_hops(ring, count);
        }
    }
}

TEST_CASE("mpi ring: channels side by side, and several exchanges on one, finished in any order") {
    for (const auto overlap : support::overlaps())
        for (const std::size_t count : {3, 100000}) {
            ra::MpiRing ring(MPI_COMM_WORLD, {.overlap = overlap});
            std::vector<std::vector<int>> sent, received(4, std::vector<int>(count));
            for (int i = 0; i < 4; ++i) sent.push_back(numbers(ring.rank(), i, count));
            auto first = start(ring, Channel::key_value, sent[0], received[0]);
            auto gradient = start(ring, Channel::gradient, sent[1], received[1]);
            auto second = start(ring, Channel::key_value, sent[2], received[2]);
            auto third = start(ring, Channel::key_value, sent[3], received[3]);
            auto moved = std::move(third);
            moved.finish();
            gradient.finish();
            first.finish();
            second.finish();
            moved.finish();  // it is
            for (int i = 0; i < 4; ++i)
                CHECK(received[std::size_t(i)] == numbers(rank_after(ring), i, count));
        }
}

TEST_CASE("mpi ring: a hop has messages to and from any ranks, those between two ranks in their order") {
    for (const auto overlap : support::overlaps()) {
        ra::MpiRing ring(MPI_COMM_WORLD, {.overlap = overlap, .piece_size = 3});
        for (int hop = 0; hop < 3; ++hop) CHECK(support::all_messages_arrive(ring));
        const auto messages = std::uint64_t(6 * ring.ranks());
        CHECK(ring.log().sent_on(Channel::gradient) == ra::Traffic{messages, 4 * messages});
    }
}

TEST_CASE("mpi ring: finish waits for its own exchange alone") {
    ra::MpiRing ring(MPI_COMM_WORLD);
    if (ring.ranks() == 1) return;
    // The last rank sends rank 0's second message only when rank 0 has told it that the first is there.
    const int last = ring.ranks() - 1;
    const std::vector<int> sent{7};
    std::vector<int> first(1), second(1), token(1);
    const auto bytes = [](auto& values) { return std::as_writable_bytes(std::span(values)); };
    if (ring.rank() == last) {
        ring.send(last - 1, Channel::key_value, std::as_bytes(std::span(sent)));
        ring.receive(last - 1, Channel::collective, bytes(token));
        ring.send(last - 1, Channel::key_value, std::as_bytes(std::span(sent)));
    } else if (ring.rank() == last - 1) {
        auto first_hop = support::start_round(ring, Channel::key_value, {}, bytes(first));
        auto second_hop = support::start_round(ring, Channel::key_value, {}, bytes(second));
        first_hop.finish();
        CHECK(first == sent);
        ring.send(last, Channel::collective, std::as_bytes(std::span(sent)));
        second_hop.finish();
        CHECK(second == sent);
    }
}

TEST_CASE("mpi ring: an empty span is no message") {
    for (const auto overlap : support::overlaps()) {
        ra::MpiRing ring(MPI_COMM_WORLD, {.overlap = overlap});
        const auto has_message = [](int rank) { return rank % 2 == 0; };
        for (int hop = 0; hop < 3; ++hop) {
            const auto sent = numbers(ring.rank(), hop, has_message(ring.rank()) ? 5 : 0);
            std::vector<int> received(has_message(rank_after(ring)) ? 5 : 0);
            start(ring, Channel::gradient, sent, received).finish();
            CHECK(received == numbers(rank_after(ring), hop, received.size()));
        }
        const std::uint64_t messages = has_message(ring.rank()) ? 3 : 0;
        CHECK(ring.log().sent_on(Channel::gradient) == ra::Traffic{messages, messages * 5 * sizeof(int)});
        CHECK(ring.log().sent_on(Channel::key_value) == ra::Traffic{});
    }
}

TEST_CASE("mpi ring: long messages travel in pieces and count as one") {
    for (const auto overlap : support::overlaps())
        for (const std::size_t piece_size : {1, 7, 99, 100, 101}) {
            CAPTURE(piece_size);
            ra::MpiRing ring(MPI_COMM_WORLD, {.overlap = overlap, .piece_size = piece_size});
            check_hops(ring, 25);  // 100 bytes
            CHECK(ring.log().sent_on(Channel::key_value) == ra::Traffic{3, 300});
            CHECK(support::sums_in_rank_order(ring, 11) == support::expected_sums(ring.ranks(), 11));
        }
}

TEST_CASE("mpi ring: the sums meets the ranks in order and ends the same on all, whatever its size") {
    for (const auto overlap : support::overlaps()) {
        ra::MpiRing ring(MPI_COMM_WORLD, {.overlap = overlap});
        for (const std::size_t size : support::sizes_of_sums()) {
            CAPTURE(size);
            CHECK(support::sums_in_rank_order(ring, size) == support::expected_sums(ring.ranks(), size));
        }
    }
}

TEST_CASE("mpi ring: messages move on while the rank computes") {
    const auto has_sent = [](ra::Timeline& timeline) {
        const auto events = timeline.take();
        return std::any_of(events.begin(), events.end(),
                           [](const auto& event) { return event.activity == ra::Activity::send; });
    };
    for (const auto overlap : support::overlaps()) {
        CAPTURE(int(overlap));
        ra::Timeline timeline;
        ra::MpiRing ring(MPI_COMM_WORLD, {.overlap = overlap});
        ring.log().timeline = &timeline;
        const auto sent = numbers(ring.rank(), 0, 2000000);
        std::vector<int> received(sent.size());
        auto hop = start(ring, Channel::key_value, sent, received);
        bool seen = has_sent(timeline);
        if (overlap == ra::Overlap::none) CHECK(seen);
        const auto wait_a_moment = [](ra::Index) {
            std::this_thread::sleep_for(std::chrono::microseconds(100));
        };
        for (int i = 0; i < 20000 && !seen; ++i) {
            overlap == ra::Overlap::polling ? ra::parallel_for(5, wait_a_moment) : wait_a_moment(0);
            seen = has_sent(timeline);
        }
        CHECK(seen);
        hop.finish();
        CHECK(received == numbers(rank_after(ring), 0, sent.size()));
    }
}

TEST_CASE("mpi ring: the timeline has what was sent and waited for, by peer and bytes") {
    for (const auto overlap : support::overlaps()) {
        ra::Timeline timeline;
        ra::MpiRing ring(MPI_COMM_WORLD, {.overlap = overlap});
        ring.log().timeline = &timeline;
        check_hops(ring, 250000);
        const auto events = timeline.take();
        const auto count = [&](ra::Activity activity, const std::string& name) {
            return std::count_if(events.begin(), events.end(), [&](const ra::TimelineEvent& event) {
                return event.activity == activity && event.name == name && event.begin <= event.end;
            });
        };
        CHECK(count(ra::Activity::send,
                    "to rank " + std::to_string(support::rank_before(ring)) + ", 1000000 bytes") == 3);
        CHECK(count(ra::Activity::wait, "for rank " + std::to_string(rank_after(ring)) + ", 1000000 bytes") ==
              3);
        CHECK(events.size() == 6);
    }
}

TEST_CASE("mpi ring: a ring of some ranks, and of all in another order") {
    int rank = 0, ranks = 0;
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &ranks);
    MPI_Comm part = MPI_COMM_NULL, reversed = MPI_COMM_NULL;
    MPI_Comm_split(MPI_COMM_WORLD, rank % 2, rank, &part);
    MPI_Comm_split(MPI_COMM_WORLD, 0, -rank, &reversed);
    {
        ra::MpiRing odd_or_even(part), backwards(reversed);
        CHECK(odd_or_even.ranks() == (ranks + (rank % 2 == 0 ? 1 : 0)) / 2);
        CHECK(odd_or_even.rank() == rank / 2);
        CHECK(backwards.rank() == ranks - 1 - rank);
        for (ra::MpiRing* ring : {&odd_or_even, &backwards}) {
            check_hops(*ring, 1000);
            CHECK(support::sums_in_rank_order(*ring, 100) == support::expected_sums(ring->ranks(), 100));
        }
    }
    MPI_Comm_free(&part);
    MPI_Comm_free(&reversed);
}

TEST_CASE("mpi ring: it takes a communicator of one group of ranks, and no other") {
    CHECK_REFUSES(ra::MpiRing(MPI_COMM_NULL), "MPI_COMM_NULL");
    CHECK_REFUSES((ra::MpiRing(MPI_COMM_NULL, {.overlap = ra::Overlap::none})), "MPI_COMM_NULL");
    CHECK_REFUSES(ra::MpiGrid(MPI_COMM_NULL, 1), "MPI_COMM_NULL");
    int rank = 0, ranks = 1;
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &ranks);
    // A rank that a split leaves out has none.
    MPI_Comm first = MPI_COMM_NULL;
    MPI_Comm_split(MPI_COMM_WORLD, rank == 0 ? 0 : MPI_UNDEFINED, 0, &first);
    if (rank > 0) CHECK_REFUSES(ra::MpiRing(first), "MPI_COMM_NULL");
    if (rank == 0) MPI_Comm_free(&first);
    if (ranks == 1) return;

    const bool low = rank < ranks / 2;
    MPI_Comm half = MPI_COMM_NULL, inter = MPI_COMM_NULL;
    MPI_Comm_split(MPI_COMM_WORLD, low, rank, &half);
    MPI_Intercomm_create(half, 0, MPI_COMM_WORLD, low ? ranks / 2 : 0, 1, &inter);
    CHECK_REFUSES(ra::MpiRing(inter), "inter-communicator", "single group");
    CHECK_REFUSES(ra::MpiGrid(inter, 1), "inter-communicator", "single group");
    // One rank alone is refused too: nothing was collective.
    if (rank == 0) CHECK_REFUSES(ra::MpiRing(inter), "inter-communicator");
    MPI_Comm merged = MPI_COMM_NULL;
    MPI_Intercomm_merge(inter, !low, &merged);
    CHECK(ra::MpiRing(merged).ranks() == ranks);
    MPI_Comm_free(&merged);
    MPI_Comm_free(&inter);
    MPI_Comm_free(&half);
}
