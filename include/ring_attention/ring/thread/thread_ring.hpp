#pragma once

#include <algorithm>
#include <exception>
#include <optional>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include <ring_attention/core/error.hpp>
#include <ring_attention/ring/sum_in_rank_order.hpp>
#include <ring_attention/ring/thread/emulated_link.hpp>
#include <ring_attention/ring/thread/mailboxes.hpp>

namespace ring_attention::inline RING_ATTENTION_ABI {

/// A ring whose ranks are threads of this process that share nothing and pass messages, as processes would.
class ThreadRing {
  public:
    class Hop {
      public:
        /// left: when all that is sent will have left.
        Hop(ThreadRing& ring, Channel channel, List<HopMessages::Incoming> incoming, double left)
            : ring_(&ring), channel_(channel), incoming_(std::move(incoming)), left_(left) {}

        void finish() {
            for (const auto& [from, bytes] : std::exchange(incoming_, {}))
                ring_->receive(from, channel_, bytes);
            ring_->wait_until(left_, [] { return std::string("for the link"); });
        }

      private:
        ThreadRing* ring_;
        Channel channel_;
        List<HopMessages::Incoming> incoming_;
        double left_;
    };

    /// Calls rank_main(ring) on one thread a rank and returns when all have ended. When one throws, the
    /// others end at their next message, and its error is thrown here. With an EmulatedLink, each rank's
    /// ring.seconds() tells what the rank would have taken on such links. Throws RingError where the system
    /// refuses a thread.
    static void run(int ranks, auto&& rank_main, const std::optional<EmulatedLink>& link = {}) {
        if (ranks < 1) throw RingError("a ring of " + std::to_string(ranks) + " ranks, expected at least 1");
        if (link) link->require_sense();
        detail::Mailboxes mailboxes(ranks);
        {
            std::vector<std::jthread> threads;
            for (int rank = 0; rank < ranks && !mailboxes.failure(); ++rank) try {
                    threads.emplace_back([&, rank] { run_rank(mailboxes, rank, ranks, link, rank_main); });
                } catch (...) {  // no thread to be had, or no memory
                    mailboxes.end(rank, why_not_begun(rank, ranks));
                }
        }
        if (const auto failure = mailboxes.failure()) std::rethrow_exception(failure);
    }

    int rank() const { return rank_; }
    int ranks() const { return ranks_; }

    void send(int to, Channel channel, std::span<const std::byte> message) {
        begin_send(to, channel, message);
    }

    void receive(int from, Channel channel, std::span<std::byte> message) {
        const double now = emulated_ ? emulated_->seconds() : 0;
        const double arrival = mailboxes_.take(from, rank_, channel, message);
        if (emulated_) emulated_->set_clock(now);
        wait_until(arrival, [from] { return "for rank " + std::to_string(from); });
    }

    Hop start_send(int to, Channel channel, std::span<const std::byte> message) {
        return {*this, channel, {}, begin_send(to, channel, message)};
    }
    Hop start_receive(int from, Channel channel, std::span<std::byte> message) {
        return {*this, channel, {{from, message}}, 0};
    }

    Hop start_hop(const HopMessages& messages) {
        double left = 0;
        for (const auto& [to, bytes] : messages.outgoing) left = begin_send(to, messages.channel, bytes);
        Hop hop(*this, messages.channel, messages.incoming, left);
        if (emulated_ && !emulated_->overlap()) hop.finish();
        return hop;
    }

    void sum_in_rank_order(std::span<std::byte> sums, auto&& add) {
        sum_parts_in_rank_order(*this, sums, add);
    }

    /// The rank's clock, which Timeline(clock) may read: emulated time since the rank began where links are
    /// emulated, else Timeline's own. To be called on the rank's thread.
    double seconds() const { return emulated_ ? emulated_->seconds() : Timeline::seconds_of_machine(); }

    /// Where links are emulated, its timeline gets what is sent and waited for, too.
    RingLog& log() { return log_; }

  private:
    ThreadRing(detail::Mailboxes& mailboxes, int rank, int ranks, const std::optional<EmulatedLink>& link)
        : mailboxes_(mailboxes), rank_(rank), ranks_(ranks) {
        if (link) emulated_.emplace(*link);
    }

    static void run_rank(detail::Mailboxes& mailboxes, int rank, int ranks,
                         const std::optional<EmulatedLink>& link, auto& rank_main) {
        std::exception_ptr failure;
        try {
            ThreadRing ring(mailboxes, rank, ranks, link);
            rank_main(ring);
        } catch (...) {
            failure = std::current_exception();
        }
        mailboxes.end(rank, failure);
    }

    /// In a catch: its exception, in words where it is a refused thread.
    static std::exception_ptr why_not_begun(int rank, int ranks) noexcept {
        try {
            try {
                throw;
            } catch (const std::system_error& refused) {
                throw RingError("rank " + std::to_string(rank) + " of " + std::to_string(ranks) +
                                " gets no thread: " + refused.what());
            }
        } catch (...) {
            return std::current_exception();
        }
    }

    /// Returns when the message will have left.
    double begin_send(int to, Channel channel, std::span<const std::byte> message) {
        log_.count_sent(channel, message.size());
        if (!emulated_) {
            mailboxes_.put(rank_, to, channel, message, 0);
            return 0;
        }
        const double now = emulated_->seconds();
        const auto leaving = emulated_->send(now, message.size());
        mailboxes_.put(rank_, to, channel, message, emulated_->arrival(leaving));
        if (log_.timeline)
            log_.timeline->add(
                {Activity::send,
                 "to rank " + std::to_string(to) + ", " + std::to_string(message.size()) + " bytes",
                 leaving.begin, leaving.end});
        emulated_->set_clock(now);
        return leaving.end;
    }

    /// In emulated time; in real time what is waited for is there.
    void wait_until(double time, auto&& name) {
        if (!emulated_) return;
        const double now = emulated_->seconds();
        if (time <= now) return;
        if (log_.timeline) log_.timeline->add({Activity::wait, name(), now, time});
        emulated_->set_clock(time);
    }

    detail::Mailboxes& mailboxes_;
    int rank_;
    int ranks_;
    std::optional<detail::EmulatedRank> emulated_;
    RingLog log_;
};

static_assert(Ring<ThreadRing>);

}  // namespace ring_attention::inline RING_ATTENTION_ABI
