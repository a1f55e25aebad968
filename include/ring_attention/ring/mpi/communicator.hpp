#pragma once

#include <exception>
#include <string_view>
#include <utility>

#include <ring_attention/core/abi.hpp>
#include <ring_attention/ring/mpi/error.hpp>

namespace ring_attention::inline RING_ATTENTION_ABI::detail {

/// A communicator that is ours. Its errors are returned, not fatal, so that we can say what was tried.
class Communicator {
  public:
    /// All ranks of `communicator` call these together. Throw RingError where MPI is not at work, or it is
    /// none (MPI_COMM_NULL) or an inter-communicator.
    static Communicator duplicate(MPI_Comm communicator) {
        require_running();
        require_one_group(communicator);
        MPI_Comm own = MPI_COMM_NULL;
        const int code = MPI_Comm_dup(communicator, &own);
        return take(code, own, "MPI_Comm_dup");
    }

    static Communicator split(MPI_Comm communicator, int color, int key) {
        require_running();
        require_one_group(communicator);
        MPI_Comm own = MPI_COMM_NULL;
        const int code = MPI_Comm_split(communicator, color, key, &own);
        return take(code, own, "MPI_Comm_split");
    }

    Communicator(Communicator&& other) noexcept
        : own_(std::exchange(other.own_, MPI_COMM_NULL)), exceptions_(other.exceptions_) {}
    Communicator& operator=(Communicator&&) = delete;

    /// To free it takes all ranks: one that unwinds, or has given it up, would wait for those that do not
    /// come.
    ~Communicator() {
        if (own_ == MPI_COMM_NULL || std::uncaught_exceptions() > exceptions_) return;
        int finalized = 0;
        if (MPI_Finalized(&finalized) == MPI_SUCCESS && !finalized) MPI_Comm_free(&own_);
    }

    /// Never free it.
    void give_up() { own_ = MPI_COMM_NULL; }

    MPI_Comm get() const { return own_; }

    int rank() const {
        int rank = 0;
        require_success(MPI_Comm_rank(own_, &rank), world_rank(), "MPI_Comm_rank");
        return rank;
    }

    int size() const {
        int size = 0;
        require_success(MPI_Comm_size(own_, &size), world_rank(), "MPI_Comm_size");
        return size;
    }

  private:
    explicit Communicator(MPI_Comm own) : own_(own), exceptions_(std::uncaught_exceptions()) {}

    static Communicator take(int code, MPI_Comm own, std::string_view tried) {
        require_success(code, world_rank(), tried);
        Communicator communicator(own);
        require_success(MPI_Comm_set_errhandler(own, MPI_ERRORS_RETURN), world_rank(),
                        "MPI_Comm_set_errhandler");
        return communicator;
    }

    static int world_rank() {
        int rank = -1;
        MPI_Comm_rank(MPI_COMM_WORLD, &rank);
        return rank;
    }

    static void require_running() {
        int initialized = 0, finalized = 0;
        MPI_Initialized(&initialized);
        MPI_Finalized(&finalized);
        if (!initialized) throw RingError("MPI is not initialised; mpi_main() or MPI_Init_thread() does it");
        if (finalized) throw RingError("MPI is finalised already");
    }

    /// Looks at what this rank knows by itself, so all ranks throw alike and none waits for another.
    static void require_one_group(MPI_Comm communicator) {
        if (communicator == MPI_COMM_NULL)
            throw RingError("the communicator is MPI_COMM_NULL, expected one that this process is a rank of");
        int inter = 0;
        require_success(MPI_Comm_test_inter(communicator, &inter), world_rank(), "MPI_Comm_test_inter");
        if (inter)
            throw RingError(
                "the communicator is an inter-communicator, expected one of a single group of ranks");
    }

    MPI_Comm own_;
    int exceptions_;
};

}  // namespace ring_attention::inline RING_ATTENTION_ABI::detail
