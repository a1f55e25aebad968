#pragma once

#include <string>
#include <string_view>

#include <mpi.h>

#include <ring_attention/core/abi.hpp>
#include <ring_attention/core/error.hpp>

namespace ring_attention::inline RING_ATTENTION_ABI {

/// A rank has waited for longer than the hop_timeout.
class HopTimeout : public RingError {
  public:
    HopTimeout(const std::string& message, bool others_know_more)
        : RingError(message), others_know_more_(others_know_more) {}

    /// Those that it has waited for wait too: it is for another rank to say who is silent.
    bool others_know_more() const { return others_know_more_; }

  private:
    bool others_know_more_;
};

}  // namespace ring_attention::inline RING_ATTENTION_ABI

namespace ring_attention::inline RING_ATTENTION_ABI::detail {

/// What MPI says of one of its error codes.
inline std::string mpi_error_text(int code) {
    char text[MPI_MAX_ERROR_STRING] = "";
    int length = 0;
    if (MPI_Error_string(code, text, &length) != MPI_SUCCESS) return "MPI error " + std::to_string(code);
    return {text, std::size_t(length)};
}

/// "rank 2"
inline std::string rank_text(int rank) {
    return "rank " + std::to_string(rank);
}

/// Throws RingError unless the code is that of success. `tried` is what the rank has tried.
inline void require_success(int code, int rank, std::string_view tried) {
    if (code != MPI_SUCCESS)
        throw RingError(rank_text(rank) + ": " + std::string(tried) + ": " + mpi_error_text(code));
}

}  // namespace ring_attention::inline RING_ATTENTION_ABI::detail
