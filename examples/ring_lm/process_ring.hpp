#pragma once

#include <algorithm>
#include <cstdlib>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <ring_attention/ring_attention.hpp>
#ifdef RING_LM_WITH_MPI
#include <ring_attention/mpi.hpp>
#endif

namespace ring_lm {

namespace ra = ring_attention;

#ifdef RING_LM_WITH_MPI
using Communicator = MPI_Comm;
using RingOfProcesses = ra::MpiRing;
#else
struct Communicator {};

/// Where this program was built without MPI: there is none.
struct RingOfProcesses : ra::LocalRing {
    using Hop = ra::LocalRing::FinishedHop;
    explicit RingOfProcesses(Communicator) {}
    void send(int, ra::Channel, std::span<const std::byte>) {}
    void receive(int, ra::Channel, std::span<std::byte>) {}
};
#endif

/// This process alone, or with others: one type for both, so that the model is compiled once.
class ProcessRing {
  public:
    /// Alone.
    ProcessRing() = default;
    explicit ProcessRing(Communicator communicator) { processes_.emplace(communicator); }

    int rank() const { return processes_ ? processes_->rank() : 0; }
    int ranks() const { return processes_ ? processes_->ranks() : 1; }

    struct Hop {
        std::optional<RingOfProcesses::Hop> hop;
        void finish() {
            if (hop) hop->finish();
        }
    };

    Hop start_hop(const ra::HopMessages& messages) {
        if (processes_) return {processes_->start_hop(messages)};
        alone_.start_hop(messages);
        return {};
    }

    void sum_in_rank_order(std::span<std::byte> sums, auto&& add) {
        processes_ ? processes_->sum_in_rank_order(sums, add) : alone_.sum_in_rank_order(sums, add);
    }

    /// The largest of the numbers that the ranks name, on all of them.
    int largest(int number) {
        int so_far = number;
        if (ranks() > 1)
            ra::sum_numbers_in_rank_order(*this, std::span(&so_far, 1), [&](std::span<int> part, ra::Index) {
                part[0] = std::max(part[0], number);
            });
        return so_far;
    }

    ra::RingLog& log() { return processes_ ? processes_->log() : alone_.log(); }

    /// What every rank says, on rank 0; nothing elsewhere.
    std::vector<std::string> gather(const std::string& text) {
        if (rank() > 0) {
            std::size_t size = text.size();
            processes_->send(0, ra::Channel::collective, std::as_bytes(std::span(&size, 1)));
            processes_->send(0, ra::Channel::collective, std::as_bytes(std::span(text)));
            return {};
        }
        std::vector<std::string> texts{text};
        for (int from = 1; from < ranks(); ++from) {
            std::size_t size = 0;
            processes_->receive(from, ra::Channel::collective, std::as_writable_bytes(std::span(&size, 1)));
            texts.emplace_back(size, '\0');
            processes_->receive(from, ra::Channel::collective,
                                std::as_writable_bytes(std::span(texts.back())));
        }
        return texts;
    }

  private:
    ra::LocalRing alone_;
    std::optional<RingOfProcesses> processes_;
};

static_assert(ra::Ring<ProcessRing>);

}  // namespace ring_lm
