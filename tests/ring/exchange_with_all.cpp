// One hop that brings to every rank what all others have.

#include <atomic>
#include <span>
#include <vector>

#include <doctest/doctest.h>

#include <ring_attention/ring/exchange_with_all.hpp>
#include <ring_attention/ring/local_ring.hpp>
#include <ring_attention/ring/thread/thread_ring.hpp>

namespace ra = ring_attention;

namespace {

/// What a rank has: none on rank 1.
std::vector<int> numbers_of(int rank) {
    std::vector<int> numbers(rank == 1 ? 0 : std::size_t(rank + 1));
    for (std::size_t i = 0; i < numbers.size(); ++i) numbers[i] = 10 * rank + int(i);
    return numbers;
}

/// Whether this rank gets what all have.
bool gets_all(ra::RingReference ring) {
    std::vector<std::vector<int>> all;
    for (int rank = 0; rank < ring.ranks(); ++rank)
        all.push_back(rank == ring.rank() ? numbers_of(rank) : std::vector<int>(numbers_of(rank).size()));
    ra::exchange_with_all(
        ring, ra::Channel::collective, std::as_bytes(std::span(all[std::size_t(ring.rank())])),
        [&](int rank) { return std::as_writable_bytes(std::span(all[std::size_t(rank)])); });
    for (int rank = 0; rank < ring.ranks(); ++rank)
        if (all[std::size_t(rank)] != numbers_of(rank)) return false;
    return true;
}

}  // namespace

TEST_CASE("exchange with all: everybody gets what everybody has, where that is anything") {
    ra::LocalRing alone;
    CHECK(gets_all(alone));
    for (const int ranks : {1, 2, 3, 5}) {
        CAPTURE(ranks);
        std::atomic<int> right = 0;
        ra::ThreadRing::run(ranks, [&](ra::ThreadRing& ring) { right += gets_all(ring); });
        CHECK(right == ranks);
    }
}
