#pragma once

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <exception>
#include <string>
#include <thread>
#include <type_traits>

#include <mpi.h>

#include <ring_attention/core/abi.hpp>
#include <ring_attention/ring/mpi/error.hpp>

namespace ring_attention::inline RING_ATTENTION_ABI {

namespace detail {

inline constexpr int failed_exit_code = 2;

/// "rank 2: what" in one line, without the rank where there is but one or the message begins with it.
inline std::string failure_line(std::string what, int rank, int ranks) {
    std::replace(what.begin(), what.end(), '\n', ' ');
    if (ranks == 1 || what.starts_with(rank_text(rank) + " ") || what.starts_with(rank_text(rank) + ":"))
        return what + "\n";
    return rank_text(rank) + ": " + what + "\n";
}

/// Says what has failed, in one line, and ends all ranks. Who speaks first ends the others before they speak.
inline int fail_program(const std::string& what, double seconds_before) {
    int rank = 0, ranks = 1;
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &ranks);
    if (ranks > 1) std::this_thread::sleep_for(std::chrono::duration<double>(seconds_before));
    std::fflush(nullptr);
    std::fputs(failure_line(what, rank, ranks).c_str(), stderr);
    if (ranks == 1) {
        MPI_Finalize();
    } else {
        std::this_thread::sleep_for(
            std::chrono::milliseconds(100));  // or MPI may end before it has passed it on
        MPI_Abort(MPI_COMM_WORLD, failed_exit_code);
    }
    return failed_exit_code;
}

/// To be called while an exception is handled. What all ranks throw alike, rank 0 says; that a rank has
/// waited in vain, the one that knows for whom.
inline int fail_program_with_exception() {
    int rank = 0;
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    const double seconds = rank == 0 ? 0 : 0.5;
    try {
        throw;
    } catch (const HopTimeout& error) {
        return fail_program(error.what(), error.others_know_more() ? 3 : 0);
    } catch (const std::exception& error) {
        return fail_program(error.what(), seconds);
    } catch (...) {
        return fail_program("an exception that is not a std::exception", seconds);
    }
}

}  // namespace detail

/// The main function of a program of several ranks: initialises MPI, so that several threads may call it
/// where it can do that, calls f(MPI_COMM_WORLD), and finalises MPI. Returns what f returns, or 0 where that
/// is void.
///
/// When f throws on one rank, that rank prints one line, "rank 2: " and the message, and the whole job ends
/// with exit code 2, whatever the other ranks are doing.
template <class F>
int mpi_main(int argc, char** argv, F&& f) {
    int level = MPI_THREAD_SINGLE;
    if (MPI_Init_thread(&argc, &argv, MPI_THREAD_MULTIPLE, &level) != MPI_SUCCESS) {
        std::fputs("MPI_Init_thread has failed\n", stderr);
        return detail::failed_exit_code;
    }
    int exit_code = 0;
    try {
        if constexpr (std::is_void_v<std::invoke_result_t<F&, MPI_Comm>>)
            f(MPI_COMM_WORLD);
        else
            exit_code = f(MPI_COMM_WORLD);
    } catch (...) {
        return detail::fail_program_with_exception();
    }
    MPI_Finalize();
    return exit_code;
}

}  // namespace ring_attention::inline RING_ATTENTION_ABI
