#pragma once

#include <cstdlib>
#include <string>

#include "process_ring.hpp"

namespace ring_lm {

/// Whether mpirun, or another launcher of MPI programs, started this process.
inline bool started_by_mpi() {
    for (const char* variable :
         {"OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "PMI_RANK", "PMIX_RANK", "MPI_LOCALRANKID"})
        if (std::getenv(variable) != nullptr) return true;
    return false;
}

/// The processes of this program: `replicas` of the model, each on a ring of its own, which train on
/// different windows of each batch. Alone, a process is all replicas, one after the other; with others, it
/// belongs to one. The bits depend on the number of replicas, but not on who computes them.
struct Ranks {
    ProcessRing world;   ///< all processes
    ProcessRing ring;    ///< those of this replica
    ProcessRing across;  ///< those at this place of the other replicas' rings
    int replicas;
    ra::IndexRange replicas_here;  ///< those that this process works for

    /// One process.
    explicit Ranks(int number_of_replicas)
        : replicas(number_of_replicas), replicas_here{0, number_of_replicas} {}

#ifdef RING_LM_WITH_MPI
    /// Throws ra::RingError where the ranks cannot be divided among the replicas.
    Ranks(MPI_Comm all, int number_of_replicas) : Ranks(all, ra::MpiGrid(all, number_of_replicas)) {}
    Ranks(MPI_Comm all, const ra::MpiGrid& grid)
        : world(all),
          ring(grid.ring()),
          across(grid.across()),
          replicas(grid.replicas()),
          replicas_here{grid.replica(), 1} {}
#endif

    /// One rank speaks, and writes files.
    bool speaks() const {
        return world.rank() == 0;
    }
};

}  // namespace ring_lm
