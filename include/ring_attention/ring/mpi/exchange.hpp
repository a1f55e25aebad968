#pragma once

#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include <ring_attention/ring/mpi/error.hpp>
#include <ring_attention/ring/mpi/message.hpp>

namespace ring_attention::inline RING_ATTENTION_ABI::detail {

inline const char* name_of(Channel channel) {
    switch (channel) {
        case Channel::collective:
            return "sums";
        case Channel::key_value:
            return "key_value";
        default:
            return "gradient";
    }
}

/// A message to a rank and one from a rank, both under way. Nothing here throws: what goes wrong is kept as
/// failure().
class Exchange {
  public:
    /// What errors and the timeline say of it.
    struct Context {
        int rank = 0;
        Channel channel{};
        std::uint64_t hop = 0;
        Timeline* timeline = nullptr;
    };
    struct Outgoing {
        Route route;
        std::span<const std::byte> bytes;
        int tag = 0;
    };
    struct Incoming {
        Route route;
        std::span<std::byte> bytes;
    };

    Exchange(const Context& context, const Outgoing& out, const Incoming& in)
        : context_(context), out_(out.route, out.bytes, out.tag), in_(in.route, in.bytes) {}

    bool receiving() const { return in_.under_way(); }
    bool sending() const { return out_.under_way(); }
    bool ended() const { return (!receiving() && !sending()) || !failure_.empty(); }
    const std::string& failure() const { return failure_; }

    void start() {
        if (context_.timeline) begin_ = context_.timeline->now();
        in_.start();
        out_.start();
        look_for_errors();
    }

    /// Moves the messages on. Never waits.
    void progress() {
        const bool was_sending = sending();
        in_.progress();
        out_.progress();
        look_for_errors();
        if (was_sending && !sending() && context_.timeline)
            context_.timeline->add(
                {Activity::send, "to " + peer_text(out_), begin_, context_.timeline->now()});
    }

    /// "for rank 2, 4096 bytes": whom one waits for.
    std::string waiting_text() const { return "for " + (in_.size() > 0 ? peer_text(in_) : peer_text(out_)); }

    /// The ranks without which it cannot end.
    std::vector<int> waited_for() const {
        std::vector<int> ranks;
        if (receiving()) ranks.push_back(in_.peer());
        if (sending() && !(receiving() && in_.peer() == out_.peer())) ranks.push_back(out_.peer());
        return ranks;
    }

    /// The first failure stays.
    void fail(std::string text) {
        if (failure_.empty()) failure_ = std::move(text);
    }

    /// It has taken too long; `silent` are those of waited_for() that do not wait themselves.
    void fail_after(double seconds, const std::vector<int>& silent) {
        std::ostringstream text;
        text << rank_text(context_.rank) << " has waited for " << seconds << " s to ";
        if (receiving()) text << receive_text();
        if (receiving() && sending()) text << " and to ";
        if (sending()) text << send_text();
        text << (silent.empty() ? "; it is not alone in waiting" : "; nothing is heard from ");
        for (const int rank : silent) text << (rank == silent.front() ? "" : " and ") << rank_text(rank);
        fail(text.str() + " (RING_ATTENTION_HOP_TIMEOUT sets the time, in seconds)");
    }

    /// Asks MPI for the memory of what is received. (That of what is sent it cannot give back everywhere.)
    void cancel_receive() { in_.cancel(); }

  private:
    void look_for_errors() {
        if (in_.code() != MPI_SUCCESS) fail_with(in_.code(), receive_text());
        if (out_.code() != MPI_SUCCESS) fail_with(out_.code(), send_text());
        if (in_.is_of_other_size())
            fail(rank_text(context_.rank) + " waits for " + rank_text(in_.peer()) + ": the message has " +
                 std::to_string(in_.announced_size()) + " bytes, expected " + std::to_string(in_.size()) +
                 "; the ranks disagree on what they compute");
    }

    void fail_with(int code, const std::string& tried) {
        fail(rank_text(context_.rank) + " could not " + tried + ": " + mpi_error_text(code));
    }

    static std::string peer_text(const auto& message) {
        return rank_text(message.peer()) + ", " + std::to_string(message.size()) + " bytes";
    }
    std::string receive_text() const {
        return "receive " + message_text(in_) + " from " + rank_text(in_.peer());
    }
    std::string send_text() const { return "send " + message_text(out_) + " to " + rank_text(out_.peer()); }
    std::string message_text(const auto& message) const {
        return std::to_string(message.size()) + " bytes (" + name_of(context_.channel) + ", hop " +
               std::to_string(context_.hop) + ")";
    }

    Context context_;
    OutgoingMessage out_;
    IncomingMessage in_;
    std::string failure_;
    double begin_ = 0;
};

}  // namespace ring_attention::inline RING_ATTENTION_ABI::detail
