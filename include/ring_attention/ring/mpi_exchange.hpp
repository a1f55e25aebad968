#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include <mpi.h>

#include <ring_attention/ring/mpi_error.hpp>
#include <ring_attention/ring/ring_log.hpp>

namespace ring_attention::detail {

inline const char* name_of(Channel channel) {
    switch (channel) {
        case Channel::baton:
            return "baton";
        case Channel::key_value:
            return "key_value";
        default:
            return "gradient";
    }
}

/// Where an exchange takes place.
struct ExchangePlace {
    MPI_Comm communicator = MPI_COMM_NULL;
    int rank = 0;
    Channel channel{};
    std::uint64_t hop = 0;  ///< for errors: which hop of the ring
    std::size_t piece_size = 0;
    Timeline* timeline = nullptr;
};

struct Outgoing {
    int to = 0;
    std::span<const std::byte> bytes;
};
struct Incoming {
    int from = 0;
    std::span<std::byte> bytes;
};

/// A message to a rank and one from a rank, under way. Where there are no bytes there is no message.
///
/// What is sent for a message: its size, so that the receiver can say what is wrong with it, and then its
/// bytes, in pieces. Nothing here throws: what goes wrong is kept as failure(). MPI writes into this object,
/// so it stays where it is.
class Exchange {
  public:
    Exchange(ExchangePlace place, Outgoing out, Incoming in)
        : place_(std::move(place)), out_(out), in_(in), size_sent_(out.bytes.size()) {
        first_send_ = num_parts(in_.bytes.size());
        open_receives_ = first_send_;
        open_sends_ = num_parts(out_.bytes.size());
        requests_.resize(open_receives_ + open_sends_, MPI_REQUEST_NULL);
        completed_.resize(requests_.size());
        statuses_.resize(requests_.size());
    }
    Exchange(const Exchange&) = delete;
    Exchange& operator=(const Exchange&) = delete;

    bool receiving() const { return open_receives_ > 0; }
    bool sending() const { return open_sends_ > 0; }
    bool ended() const { return (!receiving() && !sending()) || !failure_.empty(); }
    const std::string& failure() const { return failure_; }

    void start() {
        if (place_.timeline) begin_ = place_.timeline->now();
        const int tag = int(place_.channel);
        const auto receive = [&](std::size_t part, void* bytes, std::size_t size) {
            return MPI_Irecv(bytes, int(size), MPI_BYTE, in_.from, tag, place_.communicator,
                             &requests_[part]);
        };
        const auto send = [&](std::size_t part, const void* bytes, std::size_t size) {
            return MPI_Isend(bytes, int(size), MPI_BYTE, out_.to, tag, place_.communicator,
                             &requests_[first_send_ + part]);
        };
        start_message(in_.bytes, &size_received_, receive, [&] { return receive_text(); });
        start_message(out_.bytes, &size_sent_, send, [&] { return send_text(); });
    }

    /// Moves the messages on. Never waits.
    void progress() {
        int count = 0;
        const int code = MPI_Testsome(int(requests_.size()), requests_.data(), &count, completed_.data(),
                                      statuses_.data());
        const bool in_status = code == MPI_ERR_IN_STATUS;
        if (code != MPI_SUCCESS && !in_status) return fail_with(code, "MPI_Testsome");
        if (count == MPI_UNDEFINED) {  // none was under way: a start has failed
            open_receives_ = open_sends_ = 0;
            return;
        }
        for (std::size_t i = 0; i < std::size_t(count); ++i)
            complete(std::size_t(completed_[i]), statuses_[i],
                     in_status ? statuses_[i].MPI_ERROR : MPI_SUCCESS);
    }

    /// "for rank 2, 4096 bytes": whom one waits for.
    std::string peer_text() const {
        return in_.bytes.empty() ? "for " + peer_text(out_.to, out_.bytes.size())
                                 : "for " + peer_text(in_.from, in_.bytes.size());
    }

    /// The first failure stays.
    void fail(std::string text) {
        if (failure_.empty()) failure_ = std::move(text);
    }

    /// The ranks without which it cannot end.
    std::vector<int> waited_for() const {
        std::vector<int> ranks;
        if (receiving()) ranks.push_back(in_.from);
        if (sending() && !(receiving() && in_.from == out_.to)) ranks.push_back(out_.to);
        return ranks;
    }

    /// It has taken too long; `silent` are those of waited_for() that do not wait themselves.
    void fail_after(double seconds, const std::vector<int>& silent) {
        std::ostringstream text;
        text << rank_text(place_.rank) << " has waited for " << seconds << " s to ";
        if (receiving()) text << receive_text();
        if (receiving() && sending()) text << " and to ";
        if (sending()) text << send_text();
        text << (silent.empty() ? "; it is not alone in waiting" : "; nothing is heard from ");
        for (const int rank : silent) text << (rank == silent.front() ? "" : " and ") << rank_text(rank);
        fail(text.str() + " (RING_ATTENTION_HOP_TIMEOUT sets the time, in seconds)");
    }

    /// Asks MPI for the memory of what is received. (That of what is sent it cannot give back everywhere.)
    void cancel_receives() {
        for (std::size_t part = 0; part < first_send_; ++part)
            if (requests_[part] != MPI_REQUEST_NULL) MPI_Cancel(&requests_[part]);
    }

  private:
    std::size_t num_parts(std::size_t size) const {
        return size == 0 ? 0 : 1 + (size + place_.piece_size - 1) / place_.piece_size;
    }

    /// The bytes of a message that are in its part.
    std::size_t size_of_part(std::size_t message_size, std::size_t part) const {
        if (part == 0) return sizeof(std::uint64_t);
        return std::min(place_.piece_size, message_size - (part - 1) * place_.piece_size);
    }

    void start_message(auto bytes, std::uint64_t* size, const auto& start_part, const auto& tried) {
        for (std::size_t part = 0; part < num_parts(bytes.size()) && failure_.empty(); ++part) {
            const std::size_t count = size_of_part(bytes.size(), part);
            const int code = part == 0
                                 ? start_part(part, size, count)
                                 : start_part(part, bytes.data() + (part - 1) * place_.piece_size, count);
            if (code != MPI_SUCCESS) fail_with(code, tried());
        }
    }

    void complete(std::size_t request, const MPI_Status& status, int code) {
        if (request >= first_send_) {
            if (code != MPI_SUCCESS) fail_with(code, send_text());
            if (--open_sends_ == 0 && place_.timeline)
                place_.timeline->add({Activity::send, "to " + peer_text(out_.to, out_.bytes.size()), begin_,
                                      place_.timeline->now()});
            return;
        }
        --open_receives_;
        if (!failure_.empty()) return;
        const std::size_t expected = size_of_part(in_.bytes.size(), request);
        int kind = MPI_SUCCESS, size = 0;
        MPI_Error_class(code, &kind);
        if (kind == MPI_ERR_TRUNCATE) return fail_with_size("a part of more", expected);
        if (code != MPI_SUCCESS) return fail_with(code, receive_text());
        MPI_Get_count(&status, MPI_BYTE, &size);
        if (std::size_t(size) != expected)
            fail_with_size("a part of " + std::to_string(size), expected);
        else if (request == 0 && size_received_ != in_.bytes.size())
            fail_with_size(std::to_string(size_received_), in_.bytes.size());
    }

    void fail_with(int code, const std::string& tried) {
        fail(rank_text(place_.rank) + " could not " + tried + ": " + mpi_error_text(code));
    }

    void fail_with_size(const std::string& given, std::size_t expected) {
        fail(rank_text(place_.rank) + " waits for " + rank_text(in_.from) + ": the message has " + given +
             " bytes, expected " + std::to_string(expected) + "; the ranks disagree on what they compute");
    }

    static std::string peer_text(int peer, std::size_t size) {
        return rank_text(peer) + ", " + std::to_string(size) + " bytes";
    }
    std::string receive_text() const {
        return "receive " + message_text(in_.bytes.size()) + " from " + rank_text(in_.from);
    }
    std::string send_text() const {
        return "send " + message_text(out_.bytes.size()) + " to " + rank_text(out_.to);
    }
    std::string message_text(std::size_t size) const {
        return std::to_string(size) + " bytes (" + name_of(place_.channel) + ", hop " +
               std::to_string(place_.hop) + ")";
    }

    ExchangePlace place_;
    Outgoing out_;
    Incoming in_;
    std::uint64_t size_sent_;
    std::uint64_t size_received_ = 0;
    std::size_t first_send_ = 0;  ///< in requests_: those of what is received stand before it
    std::size_t open_receives_ = 0, open_sends_ = 0;
    std::vector<MPI_Request> requests_;
    std::vector<int> completed_;
    std::vector<MPI_Status> statuses_;
    std::string failure_;
    double begin_ = 0;
};

}  // namespace ring_attention::detail
