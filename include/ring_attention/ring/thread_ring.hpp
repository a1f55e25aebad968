#pragma once

#include <condition_variable>
#include <deque>
#include <exception>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <system_error>
#include <thread>
#include <tuple>
#include <vector>

#include <ring_attention/core/error.hpp>
#include <ring_attention/ring/relay.hpp>

namespace ring_attention {

namespace detail {

/// Where the ranks of a ThreadRing leave their messages for each other.
class Mailboxes {
  public:
    explicit Mailboxes(int ranks) : ended_(std::size_t(ranks), false) {}

    void put(int from, int to, Channel channel, std::span<const std::byte> message) {
        const std::lock_guard lock(mutex_);
        boxes_[{from, to, channel}].emplace_back(message.begin(), message.end());
        changed_.notify_all();
    }

    /// Waits for the next message. Throws RingError where it cannot come any more, or is not of the expected
    /// size.
    void take(int from, int to, Channel channel, std::span<std::byte> message) {
        std::unique_lock lock(mutex_);
        auto& box = boxes_[{from, to, channel}];
        changed_.wait(lock, [&] { return failure_ || !box.empty() || ended_[std::size_t(from)]; });
        const std::string who = "rank " + std::to_string(to) + " waits for rank " + std::to_string(from);
        if (failure_) throw RingError(who + ", but a rank has failed");
        if (box.empty()) throw RingError(who + ", which has ended");
        if (box.front().size() != message.size())
            throw RingError(who + ": the message has " + std::to_string(box.front().size()) +
                            " bytes, expected " + std::to_string(message.size()) +
                            "; the ranks disagree on what they compute");
        std::copy(box.front().begin(), box.front().end(), message.begin());
        box.pop_front();
    }

    /// A rank is done, well or with an error. The first error ends all waiting.
    void end(int rank, std::exception_ptr failure) {
        const std::lock_guard lock(mutex_);
        ended_[std::size_t(rank)] = true;
        if (failure && !failure_) failure_ = failure;
        changed_.notify_all();
    }

    std::exception_ptr failure() {
        const std::lock_guard lock(mutex_);
        return failure_;
    }

  private:
    std::mutex mutex_;
    std::condition_variable changed_;
    std::map<std::tuple<int, int, Channel>, std::deque<std::vector<std::byte>>> boxes_;
    std::vector<bool> ended_;
    std::exception_ptr failure_;
};

}  // namespace detail

/// A ring whose ranks are threads of this process that share nothing and pass messages, as processes would.
class ThreadRing {
  public:
    class Hop {
      public:
        Hop(ThreadRing& ring, Channel channel, std::span<std::byte> received)
            : ring_(&ring), channel_(channel), received_(received) {}
        void finish() {
            if (!received_.empty()) ring_->receive((ring_->rank() + 1) % ring_->ranks(), channel_, received_);
        }

      private:
        ThreadRing* ring_;
        Channel channel_;
        std::span<std::byte> received_;
    };

    /// Calls rank_main(ring) on one thread a rank and returns when all have ended. When one throws, the
    /// others end at their next message, and its error is thrown here.
    static void run(int ranks, auto&& rank_main) {
        if (ranks < 1) throw RingError("a ring of " + std::to_string(ranks) + " ranks, expected at least 1");
        detail::Mailboxes mailboxes(ranks);
        {
            std::vector<std::jthread> threads;
            for (int rank = 0; rank < ranks && !mailboxes.failure(); ++rank) try {
                    threads.emplace_back([&, rank] { run_rank(mailboxes, rank, ranks, rank_main); });
                } catch (const std::system_error&) {  // no thread to be had
                    mailboxes.end(rank, std::current_exception());
                }
        }
        if (const auto failure = mailboxes.failure()) std::rethrow_exception(failure);
    }

    int rank() const { return rank_; }
    int ranks() const { return ranks_; }

    void send(int to, Channel channel, std::span<const std::byte> message) {
        log_.count_sent(channel, message.size());
        mailboxes_.put(rank_, to, channel, message);
    }
    void receive(int from, Channel channel, std::span<std::byte> message) {
        mailboxes_.take(from, rank_, channel, message);
    }

    Hop start_exchange(Channel channel, std::span<const std::byte> sent, std::span<std::byte> received) {
        if (!sent.empty()) send((rank_ + ranks_ - 1) % ranks_, channel, sent);
        return {*this, channel, received};
    }

    void relay(std::span<std::byte> baton, auto&& add) { relay_in_parts(*this, baton, add); }

    RingLog& log() { return log_; }

  private:
    ThreadRing(detail::Mailboxes& mailboxes, int rank, int ranks)
        : mailboxes_(mailboxes), rank_(rank), ranks_(ranks) {}

    static void run_rank(detail::Mailboxes& mailboxes, int rank, int ranks, auto& rank_main) {
        std::exception_ptr failure;
        try {
            ThreadRing ring(mailboxes, rank, ranks);
            rank_main(ring);
        } catch (...) {
            failure = std::current_exception();
        }
        mailboxes.end(rank, failure);
    }

    detail::Mailboxes& mailboxes_;
    int rank_;
    int ranks_;
    RingLog log_;
};

static_assert(Ring<ThreadRing>);

}  // namespace ring_attention
