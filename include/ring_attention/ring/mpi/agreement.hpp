#pragma once

#include <array>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include <mpi.h>

#include <ring_attention/core/types.hpp>
#include <ring_attention/ring/mpi/communicator.hpp>
#include <ring_attention/version.hpp>

namespace ring_attention::inline RING_ATTENTION_ABI::detail {

/// What all ranks must have in common to understand each other's messages.
struct Protocol {
    std::array<unsigned char, 4> byte_order{};  ///< the bytes of 0x01020304
    std::array<unsigned char, 3> library_version{};
    unsigned char index_size = sizeof(Index);
    std::uint64_t piece_size = 0;

    bool operator==(const Protocol&) const = default;

    static Protocol own(std::uint64_t pieces_of) {
        Protocol protocol;
        const std::uint32_t number = 0x01020304;
        std::memcpy(protocol.byte_order.data(), &number, sizeof number);
        protocol.library_version = {static_cast<unsigned char>(version.major),
                                    static_cast<unsigned char>(version.minor),
                                    static_cast<unsigned char>(version.patch)};
        protocol.piece_size = pieces_of;
        return protocol;
    }

    /// "ring_attention 0.1.0, little-endian, indices of 8 bytes, pieces of 1073741824 bytes"
    std::string text() const {
        const auto number = [](unsigned char n) { return std::to_string(int(n)); };
        return "ring_attention " + number(library_version[0]) + "." + number(library_version[1]) + "." +
               number(library_version[2]) + ", " + (byte_order[0] == 1 ? "big" : "little") +
               "-endian, indices of " + number(index_size) + " bytes, pieces of " +
               std::to_string(piece_size) + " bytes";
    }
};
static_assert(sizeof(Protocol) == 16, "no gaps: it is sent as it stands");

/// Throws RingError, the same one on all ranks, where a rank's is not that of rank 0.
inline void require_same_protocol(const Communicator& communicator, const Protocol& own) {
    std::vector<Protocol> all(std::size_t(communicator.size()));
    require_success(
        MPI_Allgather(&own, sizeof own, MPI_BYTE, all.data(), sizeof own, MPI_BYTE, communicator.get()),
        communicator.rank(), "MPI_Allgather");
    for (std::size_t rank = 0; rank < all.size(); ++rank)
        if (all[rank] != all[0])
            throw RingError(rank_text(int(rank)) + " has " + all[rank].text() +
                            ", expected that of rank 0: " + all[0].text());
}

}  // namespace ring_attention::inline RING_ATTENTION_ABI::detail
