#include <vector>

#include <doctest/doctest.h>

#include <ring_attention/ring/mpi/mpi_grid.hpp>
#include <ring_attention/ring/mpi/mpi_ring.hpp>

#include "support/error_message.hpp"
#include "support/sums.hpp"

namespace {

namespace ra = ring_attention;

int rank_in(MPI_Comm communicator) {
    int rank = 0;
    MPI_Comm_rank(communicator, &rank);
    return rank;
}
int size_of(MPI_Comm communicator) {
    int size = 0;
    MPI_Comm_size(communicator, &size);
    return size;
}

}  // namespace

TEST_CASE("mpi grid: replicas, each on a ring of neighbours") {
    const int ranks = size_of(MPI_COMM_WORLD), rank = rank_in(MPI_COMM_WORLD);
    for (int replicas = 1; replicas <= ranks; ++replicas) {
        CAPTURE(replicas);
        if (ranks % replicas != 0) continue;
        const int ring_size = ranks / replicas;
        const ra::MpiGrid grid(MPI_COMM_WORLD, replicas);
        CHECK(grid.replica() == rank / ring_size);
        CHECK(grid.replicas() == replicas);
        CHECK(size_of(grid.ring()) == ring_size);
        CHECK(rank_in(grid.ring()) == rank % ring_size);
        CHECK(size_of(grid.across()) == replicas);
        CHECK(rank_in(grid.across()) == grid.replica());

        ra::MpiRing ring(grid.ring()), across(grid.across());
        CHECK(support::sums_in_rank_order(ring, 10) == support::expected_sums(ring_size, 10));
        CHECK(support::sums_in_rank_order(across, 10) == support::expected_sums(replicas, 10));
    }
}

TEST_CASE("mpi grid: all ranks refuse what does not divide") {
    const int ranks = size_of(MPI_COMM_WORLD);
    for (const int replicas : {-1, 0, ranks + 1})
        CHECK_REFUSES(ra::MpiGrid(MPI_COMM_WORLD, replicas), std::to_string(ranks) + " ranks",
                      std::to_string(replicas) + " replicas", "multiple");
}
