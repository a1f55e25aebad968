#include <chrono>
#include <memory>
#include <numeric>
#include <vector>

#include <doctest/doctest.h>

#include <ring_attention/ring/mpi/mpi_ring.hpp>

#include "support/error_message.hpp"
#include "support/mpi_case.hpp"

namespace {

namespace ra = ring_attention;
using ra::Channel;
using support::rank_after;
using support::start;

std::string rank_text(int rank) {
    return "rank " + std::to_string(rank);
}

}  // namespace

TEST_CASE("mpi ring: a message of another size is an error on the rank that waits for it") {
    for (const auto overlap : support::overlaps())
        for (const std::size_t piece_size : {3, 1000})
            for (const auto& sizes : {std::pair(4, 8), std::pair(8, 4), std::pair(8, 7)}) {
                const int given = sizes.first, expected = sizes.second;
                CAPTURE(given);
                CAPTURE(expected);
                CAPTURE(piece_size);
                ra::MpiRing ring(MPI_COMM_WORLD,
                                 {.overlap = overlap, .hop_timeout = 20, .piece_size = piece_size});
                const std::vector<std::byte> sent(static_cast<std::size_t>(given));
                std::vector<std::byte> received(static_cast<std::size_t>(expected));
                CHECK_REFUSES(start(ring, Channel::key_value, sent, received).finish(),
                              rank_text(ring.rank()) + " waits for " + rank_text(rank_after(ring)),
                              "the message has " + std::to_string(given) + " bytes",
                              "expected " + std::to_string(expected), "the ranks disagree");
                // Messages could be taken for others now.
                CHECK_REFUSES(start(ring, Channel::gradient, sent, received), "the message has");
            }
}

TEST_CASE("mpi ring: a wait that takes too long names who waits, for whom, and the setting") {
    for (const auto overlap : support::overlaps()) {
        ra::MpiRing ring(MPI_COMM_WORLD, {.overlap = overlap, .hop_timeout = 1});
        std::vector<int> sent(3), received(3);
        start(ring, Channel::key_value, sent, received).finish();
        const auto begin = std::chrono::steady_clock::now();
        CHECK_REFUSES(start(ring, Channel::gradient, std::vector<int>(), received).finish(),
                      rank_text(ring.rank()) + " has waited for 1 s", "receive 12 bytes (gradient, hop 2)",
                      "from " + rank_text(rank_after(ring)), "not alone in waiting",
                      "RING_ATTENTION_HOP_TIMEOUT");
        const std::chrono::duration<double> time = std::chrono::steady_clock::now() - begin;
        CHECK(time.count() > 1);
        CHECK(time.count() < 10);
        MPI_Barrier(MPI_COMM_WORLD);
    }
}

TEST_CASE("mpi ring: a hop of several messages says which of them it waits for") {
    for (const auto overlap : support::overlaps()) {
        ra::MpiRing ring(MPI_COMM_WORLD, {.overlap = overlap, .hop_timeout = 0.5});
        if (ring.ranks() < 3) return;
        std::vector<int> sent{ring.rank()}, one(1), two(2), three(3);
        const auto bytes = [](auto& numbers) { return std::as_writable_bytes(std::span(numbers)); };
        ra::HopMessages messages{Channel::key_value};
        messages.send(support::rank_before(ring), bytes(sent));
        messages.receive(rank_after(ring), bytes(one));
        messages.receive(support::rank_before(ring), bytes(two));
        messages.receive((ring.rank() + 2) % ring.ranks(), bytes(three));
        const std::string text = support::error_message([&] { ring.start_hop(messages).finish(); });
        CAPTURE(text);
        CHECK(one.front() == rank_after(ring));
        CHECK(text.find("to receive 8 bytes (key_value, hop 1) from " +
                        rank_text(support::rank_before(ring)) +
                        " and to receive 12 bytes (key_value, hop 1) from " +
                        rank_text((ring.rank() + 2) % ring.ranks()) + ";") != std::string::npos);
        MPI_Barrier(MPI_COMM_WORLD);
    }
}

TEST_CASE("mpi ring: a send that nobody receives takes too long, too") {
    for (const auto overlap : support::overlaps()) {
        ra::MpiRing ring(MPI_COMM_WORLD, {.overlap = overlap, .hop_timeout = 0.2});
        // MPI may read this until the end of the program.
        static const std::vector<std::byte> long_message(std::size_t(1) << 24);
        if (ring.rank() == 0)
            CHECK_REFUSES(ring.send(support::rank_before(ring), Channel::collective, long_message),
                          "send 16777216 bytes", "to " + rank_text(support::rank_before(ring)));
        MPI_Barrier(MPI_COMM_WORLD);
    }
}

TEST_CASE("mpi ring: a hop that is never finished leaves the ring whole where its messages come") {
    for (const auto overlap : support::overlaps()) {
        ra::MpiRing ring(MPI_COMM_WORLD, {.overlap = overlap});
        for (const std::size_t count : {3, 1000000}) {
            {
                const std::vector<int> sent(count, ring.rank());
                std::vector<int> received(count);
                MPI_Barrier(MPI_COMM_WORLD);
                const auto hop = start(ring, Channel::key_value, sent, received);
            }
            const std::vector<int> sent(count, 10 + ring.rank());
            std::vector<int> received(count);
            start(ring, Channel::key_value, sent, received).finish();
            CHECK(received == std::vector<int>(count, 10 + rank_after(ring)));
        }
    }
}

TEST_CASE("mpi ring: a hop that is never finished breaks the ring where its messages do not come") {
    for (const auto overlap : support::overlaps()) {
        if (overlap == ra::Overlap::none) continue;  // its hops are finished when they are there
        ra::MpiRing ring(MPI_COMM_WORLD, {.overlap = overlap});
        auto memory = std::make_unique<std::vector<int>>(3, 7);
        { const auto hop = start(ring, Channel::key_value, std::vector<int>(), *memory); }
        CHECK(*memory == std::vector<int>(3, 7));
        memory.reset();
        std::vector<int> received(3);
        CHECK_REFUSES(start(ring, Channel::key_value, received, received), "started and not finished");
        MPI_Barrier(MPI_COMM_WORLD);
    }
}

TEST_CASE("mpi ring: every rank says the same where one has another version of the library") {
    const auto communicator = ra::detail::Communicator::duplicate(MPI_COMM_WORLD);
    const int last = communicator.size() - 1;
    const auto same = ra::detail::Protocol::own(1000);
    CHECK_NOTHROW(ra::detail::require_same_protocol(communicator, same));
    if (last == 0) return;
    const auto check = [&](const std::string& given, auto&& change) {
        auto own = same;
        if (communicator.rank() == last) change(own);
        CHECK_REFUSES(ra::detail::require_same_protocol(communicator, own), rank_text(last) + " has", given,
                      "expected that of rank 0", same.text());
    };
    check(".99.", [](auto& own) { own.library_version[1] = 99; });
    check("indices of 4 bytes", [](auto& own) { own.index_size = 4; });
    check("big-endian", [](auto& own) { std::swap(own.byte_order[0], own.byte_order[3]); });

    const std::size_t piece_size = communicator.rank() == last ? 7 : 1000;
    CHECK_REFUSES(ra::MpiRing(MPI_COMM_WORLD, {.piece_size = piece_size}), rank_text(last) + " has",
                  "pieces of 7 bytes", "pieces of 1000 bytes");
}
