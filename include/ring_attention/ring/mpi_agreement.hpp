#pragma once

#include <array>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include <mpi.h>

#include <ring_attention/core/types.hpp>
#include <ring_attention/ring/mpi_communicator.hpp>
#include <ring_attention/version.hpp>

namespace ring_attention::detail {

/// What the programs of all ranks must have in common to understand each other's messages.
struct Build {
    std::array<unsigned char, 4> byte_order{};  ///< the bytes of 0x01020304
    std::array<unsigned char, 3> library_version{};
    unsigned char index_size = 0;

    bool operator==(const Build&) const = default;

    static Build own() {
        Build build;
        const std::uint32_t number = 0x01020304;
        std::memcpy(build.byte_order.data(), &number, sizeof number);
        build.library_version = {static_cast<unsigned char>(version.major),
                                 static_cast<unsigned char>(version.minor),
                                 static_cast<unsigned char>(version.patch)};
        build.index_size = sizeof(Index);
        return build;
    }

    /// "ring_attention 0.1.0, little-endian, indices of 8 bytes"
    std::string text() const {
        const auto number = [](unsigned char n) { return std::to_string(int(n)); };
        return "ring_attention " + number(library_version[0]) + "." + number(library_version[1]) + "." +
               number(library_version[2]) + ", " + (byte_order[0] == 1 ? "big" : "little") +
               "-endian, indices of " + number(index_size) + " bytes";
    }
};
static_assert(sizeof(Build) == 8, "of bytes alone: it is sent as it stands");

/// Throws RingError, the same one on all ranks, where a rank's build is not that of rank 0.
inline void require_same_build(const Communicator& communicator, const Build& own = Build::own()) {
    std::vector<Build> builds(std::size_t(communicator.size()));
    require_success(
        MPI_Allgather(&own, sizeof own, MPI_BYTE, builds.data(), sizeof own, MPI_BYTE, communicator.get()),
        communicator.rank(), "MPI_Allgather");
    for (std::size_t rank = 0; rank < builds.size(); ++rank)
        if (builds[rank] != builds[0])
            throw RingError(rank_text(int(rank)) + " was compiled with " + builds[rank].text() +
                            ", expected that of rank 0: " + builds[0].text());
}

}  // namespace ring_attention::detail
