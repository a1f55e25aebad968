#pragma once

#include <cmath>
#include <cstddef>
#include <cstdlib>
#include <string>
#include <string_view>

#include <mpi.h>

#include <ring_attention/core/abi.hpp>
#include <ring_attention/core/error.hpp>

namespace ring_attention::inline RING_ATTENTION_ABI {

/// Who moves messages on while a rank computes. MPI itself mostly does so only inside its calls.
enum class Overlap {
    automatic,  ///< thread, where MPI lets several threads call it (MPI_THREAD_MULTIPLE), else polling
    thread,     ///< a thread of the ring's own
    polling,    ///< the thread that computes, between the tasks of its parallel_for
    none,       ///< nobody: start_hop() returns when the hop is over
};

namespace detail {

inline std::string_view environment(const char* name) {
    const char* given = std::getenv(name);
    return given ? given : "";
}

/// RING_ATTENTION_OVERLAP where it is set.
inline Overlap default_overlap() {
    const std::string_view given = environment("RING_ATTENTION_OVERLAP");
    if (given.empty()) return Overlap::automatic;
    if (given == "thread") return Overlap::thread;
    if (given == "polling") return Overlap::polling;
    if (given == "none") return Overlap::none;
    throw Error("RING_ATTENTION_OVERLAP is '" + std::string(given) + "', expected thread, polling or none");
}

/// RING_ATTENTION_HOP_TIMEOUT where it is set, else five minutes.
inline double default_hop_timeout() {
    const std::string given(environment("RING_ATTENTION_HOP_TIMEOUT"));
    if (given.empty()) return 300;
    char* end = nullptr;
    const double seconds = std::strtod(given.c_str(), &end);
    if (*end != '\0' || !std::isfinite(seconds) || seconds <= 0)
        throw Error("RING_ATTENTION_HOP_TIMEOUT is '" + given + "', expected a positive number of seconds");
    return seconds;
}

}  // namespace detail

/// How an MpiRing works. Throws Error where the environment says what cannot be understood.
struct MpiRingOptions {
    Overlap overlap = detail::default_overlap();
    double hop_timeout = detail::default_hop_timeout();  ///< seconds for which a rank waits for another
    std::size_t piece_size = std::size_t(1) << 30;  ///< longer messages travel in pieces: MPI counts in int
};

namespace detail {

/// What is meant by Overlap::automatic here. Throws RingError where MPI does not give what was asked for.
inline Overlap resolve(Overlap overlap) {
    int level = MPI_THREAD_SINGLE;
    MPI_Query_thread(&level);
    const bool several_threads = level == MPI_THREAD_MULTIPLE;
    if (overlap == Overlap::thread && !several_threads)
        throw RingError(
            "RING_ATTENTION_OVERLAP: thread needs MPI_Init_thread to give MPI_THREAD_MULTIPLE "
            "(level " +
            std::to_string(MPI_THREAD_MULTIPLE) + "), which gave level " + std::to_string(level) +
            "; expected polling or none");
    if (overlap != Overlap::automatic) return overlap;
    return several_threads ? Overlap::thread : Overlap::polling;
}

}  // namespace detail

}  // namespace ring_attention::inline RING_ATTENTION_ABI
