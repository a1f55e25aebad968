#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include <mpi.h>

#include <ring_attention/ring/ring_log.hpp>

namespace ring_attention::inline RING_ATTENTION_ABI::detail {

/// What is under way of a message. Of several errors of MPI the first stays.
class Requests {
  public:
    /// start_one(&request) calls MPI and returns its code.
    void start(auto&& start_one) {
        if (code_ != MPI_SUCCESS) return;
        MPI_Request request = MPI_REQUEST_NULL;
        code_ = start_one(&request);
        if (request != MPI_REQUEST_NULL) open_.push_back(request);
    }

    /// Never waits. One by one: an error in a call for several goes to the program's error handler, not to
    /// that of our communicator.
    void progress() {
        std::erase_if(open_, [&](MPI_Request& request) {
            int done = 0;
            const int code = MPI_Test(&request, &done, MPI_STATUS_IGNORE);
            if (code_ == MPI_SUCCESS) code_ = code;
            return done || code != MPI_SUCCESS;
        });
    }

    void cancel() {
        for (MPI_Request& request : open_) MPI_Cancel(&request);
    }

    bool any() const { return !open_.empty(); }
    int code() const { return code_; }

  private:
    std::vector<MPI_Request> open_;
    int code_ = MPI_SUCCESS;
};

/// Where messages run. Long ones do so in pieces.
struct Route {
    MPI_Comm communicator = MPI_COMM_NULL;
    int peer = 0;
    Channel channel{};
    std::size_t piece_size = 0;

    /// Calls f(piece of the bytes).
    template <class Byte>
    void for_each_piece(std::span<Byte> bytes, auto&& f) const {
        for (std::size_t offset = 0; offset < bytes.size(); offset += piece_size)
            f(bytes.subspan(offset, std::min(piece_size, bytes.size() - offset)));
    }
};

/// Runs ahead of a message, tagged as its channel. So the receiver can say what is wrong with a message that
/// is not what it expects, and MPI never has more to give than there is room. The message itself has a tag of
/// its own, for it to be told from others that are announced.
struct Announcement {
    std::uint64_t size = 0;
    std::int64_t tag = 0;
};

/// Tags: a channel's announcements, call_roll(), and messages, from the first to the last and then over
/// again. Every MPI has tags up to 32767, and no ring that many messages under way.
inline constexpr int roll_call_tag = 3, first_message_tag = 4, last_message_tag = 32767;

/// A message to another rank. Where there are no bytes there is none. MPI reads this object, so it stays
/// where it is.
class OutgoingMessage {
  public:
    OutgoingMessage(const Route& route, std::span<const std::byte> bytes, int tag)
        : route_(route), bytes_(bytes), announcement_{bytes.size(), tag} {}
    OutgoingMessage(const OutgoingMessage&) = delete;
    OutgoingMessage& operator=(const OutgoingMessage&) = delete;

    void start() {
        if (bytes_.empty()) return;
        send(&announcement_, sizeof announcement_, int(route_.channel));
        route_.for_each_piece(bytes_,
                              [&](auto piece) { send(piece.data(), piece.size(), int(announcement_.tag)); });
    }
    void progress() { requests_.progress(); }

    bool under_way() const { return requests_.any(); }
    int code() const { return requests_.code(); }
    int peer() const { return route_.peer; }
    std::size_t size() const { return bytes_.size(); }

  private:
    void send(const void* bytes, std::size_t size, int tag) {
        requests_.start([&](MPI_Request* request) {
            return MPI_Isend(bytes, int(size), MPI_BYTE, route_.peer, tag, route_.communicator, request);
        });
    }

    Route route_;
    std::span<const std::byte> bytes_;
    Announcement announcement_;
    Requests requests_;
};

/// A message from another rank. Where there is no room for bytes there is none. MPI writes to this object, so
/// it stays where it is.
class IncomingMessage {
  public:
    IncomingMessage(const Route& route, std::span<std::byte> bytes) : route_(route), bytes_(bytes) {}
    IncomingMessage(const IncomingMessage&) = delete;
    IncomingMessage& operator=(const IncomingMessage&) = delete;

    void start() {
        if (!bytes_.empty()) receive(&announcement_, sizeof announcement_, int(route_.channel));
    }

    void progress() {
        const bool was_announced = announced_;
        requests_.progress();
        if (was_announced || bytes_.empty() || requests_.any() || code() != MPI_SUCCESS) return;
        announced_ = true;
        if (is_of_other_size()) return;
        route_.for_each_piece(
            bytes_, [&](auto piece) { receive(piece.data(), piece.size(), int(announcement_.tag)); });
    }

    /// Asks MPI for the memory.
    void cancel() { requests_.cancel(); }

    bool under_way() const { return requests_.any(); }
    int code() const { return requests_.code(); }
    int peer() const { return route_.peer; }
    std::size_t size() const { return bytes_.size(); }

    bool is_of_other_size() const { return announced_ && announcement_.size != bytes_.size(); }
    std::uint64_t announced_size() const { return announcement_.size; }

  private:
    void receive(void* bytes, std::size_t size, int tag) {
        requests_.start([&](MPI_Request* request) {
            return MPI_Irecv(bytes, int(size), MPI_BYTE, route_.peer, tag, route_.communicator, request);
        });
    }

    Route route_;
    std::span<std::byte> bytes_;
    Announcement announcement_;
    bool announced_ = false;
    Requests requests_;
};

}  // namespace ring_attention::inline RING_ATTENTION_ABI::detail
