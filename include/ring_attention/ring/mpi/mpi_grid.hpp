#pragma once

#include <string>

#include <ring_attention/ring/mpi/communicator.hpp>

namespace ring_attention::inline RING_ATTENTION_ABI {

/// The ranks of a communicator as replicas of a model, each on a ring of its own:
///
///     replica 0:  ranks 0 1 2     a row is a ring()
///     replica 1:  ranks 3 4 5     a column is across()
class MpiGrid {
  public:
    /// All ranks of the communicator call it together. Throws RingError, on all of them, where its size is
    /// not a multiple of `replicas`, it is MPI_COMM_NULL or an inter-communicator, or MPI is not at work.
    MpiGrid(MPI_Comm communicator, int replicas) : MpiGrid(Place(communicator, replicas), communicator) {}

    MPI_Comm ring() const { return ring_.get(); }      ///< the ranks of this replica
    MPI_Comm across() const { return across_.get(); }  ///< the ranks at this place of their rings, by replica

    int replica() const { return replica_; }
    int replicas() const { return replicas_; }

  private:
    struct Place {
        int rank = 0, replicas = 0, ring_size = 0;

        Place(MPI_Comm communicator, int num_replicas) : replicas(num_replicas) {
            const auto own = detail::Communicator::duplicate(communicator);
            rank = own.rank();
            if (replicas < 1 || own.size() % replicas != 0)
                throw RingError(std::to_string(own.size()) + " ranks and " + std::to_string(replicas) +
                                " replicas: the ranks must be a multiple of the replicas");
            ring_size = own.size() / replicas;
        }
    };

    MpiGrid(const Place& place, MPI_Comm communicator)
        : replica_(place.rank / place.ring_size),
          replicas_(place.replicas),
          ring_(detail::Communicator::split(communicator, replica_, place.rank)),
          across_(detail::Communicator::split(communicator, place.rank % place.ring_size, place.rank)) {}

    int replica_;
    int replicas_;
    detail::Communicator ring_, across_;
};

}  // namespace ring_attention::inline RING_ATTENTION_ABI
