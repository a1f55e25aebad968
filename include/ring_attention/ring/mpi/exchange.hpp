#pragma once

#include <algorithm>
#include <deque>
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

/// Messages to ranks and from ranks, all under way together. Once they are, nothing here throws: what goes
/// wrong is kept as failure().
class Exchange {
  public:
    /// What errors and the timeline say of it.
    struct Context {
        int rank = 0;
        Channel channel{};
        std::uint64_t hop = 0;
        Timeline* timeline = nullptr;
    };

    explicit Exchange(const Context& context) : context_(context) {}

    /// Before start().
    void send(const Route& route, std::span<const std::byte> bytes, int tag) {
        out_.emplace_back(route, bytes, tag);
    }
    void receive(const Route& route, std::span<std::byte> bytes) { in_.emplace_back(route, bytes); }

    bool receiving() const { return any_under_way(in_); }
    bool sending() const { return any_under_way(out_); }
    bool ended() const { return (!receiving() && !sending()) || !failure_.empty(); }
    const std::string& failure() const { return failure_; }

    void start() {
        if (context_.timeline) begin_ = context_.timeline->now();
        for (IncomingMessage& in : in_) in.start();
        for (OutgoingMessage& out : out_) out.start();
        look_for_errors();
    }

    /// Moves the messages on. Never waits.
    void progress() {
        for (IncomingMessage& in : in_) in.progress();
        for (OutgoingMessage& out : out_) {
            const bool was_sending = out.under_way();
            out.progress();
            if (was_sending && !out.under_way() && context_.timeline)
                context_.timeline->add(
                    {Activity::send, "to " + peer_text(out), begin_, context_.timeline->now()});
        }
        look_for_errors();
    }

    /// "for rank 2, 4096 bytes": whom one waits for, and for what; for receivers where nothing is received.
    std::string waiting_text() const {
        std::string text;
        const auto add = [&](const auto& message) {
            text += (text.empty() ? "for " : " and ") + peer_text(message);
        };
        std::for_each(in_.begin(), in_.end(), add);
        if (in_.empty()) std::for_each(out_.begin(), out_.end(), add);
        return text;
    }

    /// The ranks without which it cannot end.
    std::vector<int> waited_for() const {
        std::vector<int> ranks;
        for_each_under_way([&](const auto& message, const std::string&) {
            if (std::find(ranks.begin(), ranks.end(), message.peer()) == ranks.end())
                ranks.push_back(message.peer());
        });
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
        const char* separator = "";
        for_each_under_way([&](const auto&, const std::string& what) {
            text << std::exchange(separator, " and to ") << what;
        });
        text << (silent.empty() ? "; it is not alone in waiting" : "; nothing is heard from ");
        for (const int rank : silent) text << (rank == silent.front() ? "" : " and ") << rank_text(rank);
        fail(text.str() + " (RING_ATTENTION_HOP_TIMEOUT sets the time, in seconds)");
    }

    /// Asks MPI for the memory of what is received. (That of what is sent it cannot give back everywhere.)
    void cancel_receive() {
        for (IncomingMessage& in : in_) in.cancel();
    }

  private:
    static bool any_under_way(const auto& messages) {
        return std::any_of(messages.begin(), messages.end(),
                           [](const auto& message) { return message.under_way(); });
    }

    /// Calls f(message, "receive 8 bytes ... from rank 1").
    void for_each_under_way(auto&& f) const {
        for (const IncomingMessage& in : in_)
            if (in.under_way()) f(in, text_of(in));
        for (const OutgoingMessage& out : out_)
            if (out.under_way()) f(out, text_of(out));
    }

    void look_for_errors() {
        for (const IncomingMessage& in : in_) {
            if (in.code() != MPI_SUCCESS) fail_with(in.code(), text_of(in));
            if (in.is_of_other_size())
                fail(rank_text(context_.rank) + " waits for " + rank_text(in.peer()) + ": the message has " +
                     std::to_string(in.announced_size()) + " bytes, expected " + std::to_string(in.size()) +
                     "; the ranks disagree on what they compute");
        }
        for (const OutgoingMessage& out : out_)
            if (out.code() != MPI_SUCCESS) fail_with(out.code(), text_of(out));
    }

    void fail_with(int code, const std::string& tried) {
        fail(rank_text(context_.rank) + " could not " + tried + ": " + mpi_error_text(code));
    }

    static std::string peer_text(const auto& message) {
        return rank_text(message.peer()) + ", " + std::to_string(message.size()) + " bytes";
    }
    std::string text_of(const IncomingMessage& in) const {
        return "receive " + size_text(in) + " from " + rank_text(in.peer());
    }
    std::string text_of(const OutgoingMessage& out) const {
        return "send " + size_text(out) + " to " + rank_text(out.peer());
    }
    std::string size_text(const auto& message) const {
        return std::to_string(message.size()) + " bytes (" + name_of(context_.channel) + ", hop " +
               std::to_string(context_.hop) + ")";
    }

    Context context_;
    std::deque<OutgoingMessage> out_;  // they stay where they are
    std::deque<IncomingMessage> in_;
    std::string failure_;
    double begin_ = 0;
};

}  // namespace ring_attention::inline RING_ATTENTION_ABI::detail
