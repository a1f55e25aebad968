#pragma once

#include <span>
#include <vector>

#include <mpi.h>

#include <ring_attention/ring/mpi/mpi_ring.hpp>

#include "hops.hpp"

namespace support {

namespace ra = ring_attention;

/// The ways to move messages on that this run of the tests has.
inline std::vector<ra::Overlap> overlaps() {
    int level = MPI_THREAD_SINGLE;
    MPI_Query_thread(&level);
    std::vector<ra::Overlap> all{ra::Overlap::polling, ra::Overlap::none};
    if (level == MPI_THREAD_MULTIPLE) all.push_back(ra::Overlap::thread);
    return all;
}

/// Starts a hop that sends and receives these numbers.
template <class T>
auto start(ra::MpiRing& ring, ra::Channel channel, const std::vector<T>& sent, std::vector<T>& received) {
    return start_round(ring, channel, std::as_bytes(std::span(sent)),
                       std::as_writable_bytes(std::span(received)));
}

}  // namespace support
