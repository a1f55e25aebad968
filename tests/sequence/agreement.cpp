#include <array>

#include <doctest/doctest.h>

#include <ring_attention/ring/thread/thread_ring.hpp>
#include <ring_attention/sequence/agreement.hpp>

#include "support/error_message.hpp"

namespace ra = ring_attention;

TEST_CASE("ranks agree on the whole sequence, or all throw the same") {
    const auto agree = [](auto tokens_of, auto batch_of) {
        ra::ThreadRing::run(3, [&](ra::ThreadRing& ring) {
            const ra::Share share = ra::agree_on_share(
                ring, 4, ra::Layout::contiguous, tokens_of(ring.rank()), {{"batch", batch_of(ring.rank())}});
            if (share != ra::Share(ra::ChunkLayout(10, 4), ring.rank(), 3)) throw ra::Error("another share");
        });
    };
    const auto right = [](int rank) { return std::array<ra::Index, 3>{6, 2, 2}[std::size_t(rank)]; };
    const auto one = [](int) { return ra::Index(1); };
    CHECK_NOTHROW(agree(right, one));
    CHECK_REFUSES(agree(
                      [](int rank) {
                          return std::array<ra::Index, 3>{5, 3, 2}[std::size_t(rank)];
                      },
                      one),
                  "rank 0 holds 5 of 10 tokens", "expected 6");
    CHECK_REFUSES(agree(right, [](int rank) { return ra::Index(rank == 1 ? 2 : 1); }), "rank 1 has batch 2",
                  "rank 0, 1");
}

TEST_CASE("ranks of different layouts all throw the same") {
    const auto agree = [] {
        ra::ThreadRing::run(3, [](ra::ThreadRing& ring) {
            const ra::Layout layout = ring.rank() == 2 ? ra::Layout::striped : ra::Layout::zigzag;
            ra::agree_on_share(ring, 3, layout, 4, {});
        });
    };
    CHECK_REFUSES(agree(), "rank 2 has layout striped", "rank 0, zigzag");
}

TEST_CASE("ranks agree on numbers in one hop, or all throw the same") {
    const auto agree = [](int ranks, int other) {
        ra::ThreadRing::run(ranks, [&](ra::ThreadRing& ring) {
            const bool differs = ring.rank() == other;
            ra::agree(ring, {{"batch", 2}, {"capacity", differs ? 7 : 6}, ra::agreed_fingerprint("x", 5)});
            ra::agree(ring, {ra::agreed_fingerprint("x", differs ? 5 : 4)});
            if (ring.log().sent_on(ra::Channel::collective).messages != std::uint64_t(2 * (ranks - 1)))
                throw ra::Error("other messages");
        });
    };
    for (int ranks = 1; ranks <= 4; ++ranks) {
        CHECK_NOTHROW(agree(ranks, -1));
        for (int other = 1; other < ranks; ++other)
            CHECK_REFUSES(agree(ranks, other),
                          "rank " + std::to_string(other) + " has capacity 7, expected that of rank 0, 6");
    }
    CHECK_REFUSES(agree(3, 0), "rank 1 has capacity 6, expected that of rank 0, 7");
}
