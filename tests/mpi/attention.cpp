// Attention over MPI gives the bits that one process alone gives.

#include <cstdint>

#include <doctest/doctest.h>

#include <ring_attention/ring/mpi/mpi_ring.hpp>

#include "support/attention_on_ranks.hpp"
#include "support/attention_operator.hpp"
#include "support/mpi_case.hpp"
#include "support/num_threads.hpp"

namespace {

namespace ra = ring_attention;

/// Runs the case on this ring, where it has no more ranks than there are seats.
template <class T>
auto checked_on(ra::MpiRing& ring) {
    return [&](const oracle::AttentionShape& shape, support::Scores scores,
               const ra::AttentionOptions& options) {
        if (ring.ranks() > options.num_chunks) return;
        INFO(shape.seq_len, " tokens, ", options.num_chunks, " chunks, causal ", options.causal);
        const support::AttentionCase<T> c(shape, scores);
        const auto share = ra::share(ring, ra::Index(c.shape.seq_len), options.num_chunks, options.layout);
        const auto alone = support::part_of(support::run(c, options), share);
        CHECK(support::same_bits(support::run_rank(c, options, ring), alone));
    };
}

}  // namespace

TEST_CASE_TEMPLATE("attention over mpi: the bits of one process", T, float, double) {
    for (const auto overlap : support::overlaps()) {
        ra::MpiRing ring(MPI_COMM_WORLD, {.overlap = overlap});
        support::for_each_small_case(checked_on<T>(ring));
    }
}

TEST_CASE_TEMPLATE("attention over mpi: the bits of one process, whatever the scores", T, float, double) {
    ra::MpiRing ring(MPI_COMM_WORLD);
    support::for_each_scores_case(checked_on<T>(ring));
}

TEST_CASE("attention over mpi: the bits of one process, chunks longer than a tile, one thread and three") {
    for (const auto overlap : support::overlaps())
        for (const int num_threads : {1, 3}) {
            const support::NumThreads threads(num_threads);
            ra::MpiRing ring(MPI_COMM_WORLD, {.overlap = overlap, .piece_size = 1000});
            support::for_each_long_case(checked_on<float>(ring));
        }
}

TEST_CASE_TEMPLATE("attention over mpi: random combinations give the bits of one process", T, float, double) {
    ra::MpiRing ring(MPI_COMM_WORLD);
    for (std::uint64_t seed = 0; seed < 2000; seed += 11) {
        const support::RandomAttention<T> c(seed, support::lacking_features());
        if (support::is_refused(c) || ring.ranks() > c.num_chunks) continue;
        CAPTURE(seed);
        CHECK(support::has_the_bits_of(support::results_of(c), c, ring));
    }
}
