#include <numeric>
#include <vector>

#include <doctest/doctest.h>

#include <ring_attention/ring/local_ring.hpp>
#include <ring_attention/ring/sum_in_seat_order.hpp>
#include <ring_attention/ring/thread/thread_ring.hpp>

namespace {

namespace ra = ring_attention;

/// Numbers 0, 1, 2, ... in pieces of these sizes.
struct Pieces {
    std::vector<std::vector<double>> memory;
    ra::JoinedSpan<double> joined;

    explicit Pieces(const std::vector<std::size_t>& sizes) {
        double next = 0;
        for (const std::size_t size : sizes) {
            memory.emplace_back(size);
            for (double& number : memory.back()) number = next++;
        }
        for (auto& piece : memory) joined.add(piece);
    }
};

}  // namespace

TEST_CASE("joined spans: every run is met once, in order, also beside empty pieces") {
    const Pieces pieces({3, 0, 1, 5, 0});
    CHECK(pieces.joined.size() == 9);
    for (std::size_t first = 0; first <= 9; ++first)
        for (std::size_t count = 0; first + count <= 9; ++count) {
            std::vector<double> met;
            pieces.joined.for_each_run(first, count, [&](std::span<double> run, std::size_t offset) {
                CHECK(offset == met.size());
                CHECK(!run.empty());
                met.insert(met.end(), run.begin(), run.end());
            });
            std::vector<double> expected(count);
            std::iota(expected.begin(), expected.end(), double(first));
            CHECK(met == expected);
        }
}

TEST_CASE("seat sum: rank 0's total, then the seats' contributions in order, on every rank") {
    for (const int ranks : {1, 2, 4})
        ra::ThreadRing::run(ranks, [&](ra::ThreadRing& ring) {
            // Of the orders in which these could be added, only one gives this result.
            const double large = 0x1p53;
            std::vector<double> total(70000, ring.rank() == 0 ? large : -7), one(total.size(), 1),
                minus(total.size(), -large);
            ra::List<ra::JoinedSpan<const double>> contributions;
            if (ring.rank() == 0) contributions.push_back(std::span<const double>(one));
            if (ring.rank() == ranks - 1) contributions.push_back(std::span<const double>(minus));
            if (ring.rank() == ranks - 1) contributions.push_back(std::span<const double>(one));
            ra::add_in_seat_order(ring, ra::JoinedSpan<double>(std::span(total)), contributions);
            for (const double number : total)
                if (number != 1) throw ra::Error("another sum");
        });
}
