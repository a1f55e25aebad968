#pragma once

#include <chrono>
#include <thread>
#include <vector>

#include <mpi.h>

#include <ring_attention/ring/mpi/message.hpp>

namespace ring_attention::inline RING_ATTENTION_ABI::detail {

/// Of the ranks for which this one has waited in vain: those that are silent. When one rank stops, soon all
/// wait, each for the next; to say which one it is takes asking. So a rank that has waited for too long tells
/// all others so, and then listens for half a second whether those it waits for say the same.
///
/// A rank that MPI cannot reach is silent.
inline std::vector<int> call_roll(std::vector<int> waited_for, MPI_Comm communicator) {
    constexpr int tag = roll_call_tag;
    constexpr auto listening = std::chrono::milliseconds(500), pause = std::chrono::milliseconds(1);
    int ranks = 0, own = 0;
    MPI_Comm_size(communicator, &ranks);
    MPI_Comm_rank(communicator, &own);
    std::erase(waited_for, own);
    for (int rank = 0; rank < ranks; ++rank) {
        if (rank == own) continue;
        MPI_Request request = MPI_REQUEST_NULL;
        if (MPI_Isend(nullptr, 0, MPI_BYTE, rank, tag, communicator, &request) == MPI_SUCCESS)
            MPI_Request_free(&request);
    }
    const auto has_spoken = [&](int rank) {
        int yes = 0;
        return MPI_Iprobe(rank, tag, communicator, &yes, MPI_STATUS_IGNORE) == MPI_SUCCESS && yes != 0;
    };
    const auto end = std::chrono::steady_clock::now() + listening;
    while (!waited_for.empty() && std::chrono::steady_clock::now() < end) {
        std::erase_if(waited_for, has_spoken);
        std::this_thread::sleep_for(pause);
    }
    return waited_for;
}

}  // namespace ring_attention::inline RING_ATTENTION_ABI::detail
