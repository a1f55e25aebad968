#pragma once

#include <algorithm>
#include <cstdlib>
#include <span>
#include <string>
#include <vector>

#include <ring_attention/ring_attention.hpp>

namespace ring_lm {

namespace ra = ring_attention;

/// Whether mpirun, or another launcher of MPI programs, started this process.
inline bool started_by_mpi() {
    for (const char* variable :
         {"OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "PMI_RANK", "PMIX_RANK", "MPI_LOCALRANKID"})
        if (std::getenv(variable) != nullptr) return true;
    return false;
}

/// The largest of the numbers that the ranks name, on all of them.
inline int largest_of_ranks(ra::RingReference ring, int number) {
    int so_far = number;
    ra::sum_numbers_in_rank_order(ring, std::span(&so_far, 1), [&](std::span<int> part, ra::Index) {
        part[0] = std::max(part[0], number);
    });
    return so_far;
}

/// The processes of this program: `replicas` of the model, each on a ring of its own, which train on
/// different windows of each batch. Alone, a process is all replicas, one after the other; with others, it
/// belongs to one. The bits depend on the number of replicas, but not on who computes them.
struct Ranks {
    ra::RingReference world;   ///< all processes
    ra::RingReference ring;    ///< those of this replica
    ra::RingReference across;  ///< those at this place of the other replicas' rings
    int replicas;
    ra::IndexRange replicas_here;  ///< those that this process works for

    /// One rank speaks, and writes files.
    bool speaks() const { return world.rank() == 0; }

    /// What every rank says, on rank 0; nothing elsewhere.
    std::vector<std::string> gather(const std::string& text) const {
        constexpr auto channel = ra::Channel::collective;
        std::size_t size = text.size();
        const auto size_bytes = std::as_writable_bytes(std::span(&size, 1));
        if (world.rank() > 0) {
            world.send(0, channel, size_bytes);
            world.send(0, channel, std::as_bytes(std::span(text)));
            return {};
        }
        std::vector<std::string> texts{text};
        for (int from = 1; from < world.ranks(); ++from) {
            world.receive(from, channel, size_bytes);
            texts.emplace_back(size, '\0');
            world.receive(from, channel, std::as_writable_bytes(std::span(texts.back())));
        }
        return texts;
    }
};

}  // namespace ring_lm
