#pragma once

#include <memory>
#include <utility>

#include <climits>

#include <ring_attention/ring/mpi/agreement.hpp>
#include <ring_attention/ring/mpi/courier.hpp>
#include <ring_attention/ring/mpi/options.hpp>
#include <ring_attention/ring/sum_in_rank_order.hpp>

namespace ring_attention::inline RING_ATTENTION_ABI {

/// A ring whose ranks are processes: those of an MPI communicator, in its order.
///
/// A ring is used by one thread. Several exchanges may be under way at once, on one channel too: they are
/// matched in the order in which they were started. After a RingError the ring is of no more use.
class MpiRing {
  public:
    /// An exchange under way. What becomes of one that is never finished: see detail::Courier::abandon.
    class Hop {
      public:
        Hop(Hop&&) noexcept = default;
        Hop& operator=(Hop&& other) noexcept {
            std::swap(courier_, other.courier_);
            std::swap(exchange_, other.exchange_);
            std::swap(timeline_, other.timeline_);
            return *this;
        }
        ~Hop() {
            if (exchange_) courier_->abandon(std::move(exchange_));
        }

        /// Returns when this exchange is done. Throws RingError where that takes longer than the hop_timeout,
        /// what is received is not of the expected size, or MPI says that it cannot be done.
        void finish() {
            if (!exchange_) return;
            {
                const TimelineSpan span(timeline_, Activity::wait, [&] { return exchange_->waiting_text(); });
                courier_->wait(*exchange_);
            }
            exchange_.reset();
        }

      private:
        friend class MpiRing;
        explicit Hop(detail::Courier& courier, Timeline* timeline = nullptr,
                     std::unique_ptr<detail::Exchange> exchange = nullptr)
            : courier_(&courier), timeline_(timeline), exchange_(std::move(exchange)) {}

        detail::Courier* courier_;
        Timeline* timeline_;
        std::unique_ptr<detail::Exchange> exchange_;  ///< none when finished
    };

    /// All ranks of the communicator call it together; what the ring sends is apart from all else that is
    /// sent there. Throws RingError where MPI is not at work, cannot give what the options ask for, the
    /// communicator is MPI_COMM_NULL or an inter-communicator, or a rank was compiled with another version of
    /// the library (all ranks then throw the same); Error where an option is out of range.
    explicit MpiRing(MPI_Comm communicator, const MpiRingOptions& options = {})
        : communicator_(detail::Communicator::duplicate(communicator)),
          rank_(communicator_.rank()),
          ranks_(communicator_.size()),
          options_(checked(options)),
          courier_(communicator_.get(), options_.overlap, options_.hop_timeout) {
        detail::require_same_protocol(communicator_, detail::Protocol::own(options_.piece_size));
    }
    MpiRing(const MpiRing&) = delete;
    MpiRing& operator=(const MpiRing&) = delete;

    ~MpiRing() {
        if (courier_.failed()) communicator_.give_up();
    }

    int rank() const { return rank_; }
    int ranks() const { return ranks_; }
    Overlap overlap() const { return options_.overlap; }  ///< never automatic

    /// The ring's own: it is to be used for nothing else that has a tag.
    MPI_Comm communicator() const { return communicator_.get(); }

    /// Returns when the message may be changed. Throws as Hop::finish() does.
    void send(int to, Channel channel, std::span<const std::byte> message) {
        const detail::Courier::Caller caller(courier_);
        start_send(to, channel, message).finish();
    }
    /// Returns when the message is there. Throws as Hop::finish() does.
    void receive(int from, Channel channel, std::span<std::byte> message) {
        const detail::Courier::Caller caller(courier_);
        start_receive(from, channel, message).finish();
    }

    /// Begin what send() and receive() do; what they return ends it with finish().
    Hop start_send(int to, Channel channel, std::span<const std::byte> message) {
        HopMessages messages{channel};
        messages.send(to, message);
        return start(messages);
    }
    Hop start_receive(int from, Channel channel, std::span<std::byte> message) {
        HopMessages messages{channel};
        messages.receive(from, message);
        return start(messages);
    }

    Hop start_hop(const HopMessages& messages) {
        ++hops_;
        Hop hop = start(messages);
        if (options_.overlap == Overlap::none) hop.finish();
        return hop;
    }

    void sum_in_rank_order(std::span<std::byte> sums, auto&& add) {
        sum_parts_in_rank_order(*this, sums, add);
    }

    RingLog& log() { return log_; }

  private:
    static MpiRingOptions checked(MpiRingOptions options) {
        if (!(options.hop_timeout > 0))
            throw Error("MpiRingOptions: hop_timeout is " + std::to_string(options.hop_timeout) +
                        ", expected a positive number of seconds");
        if (options.piece_size < 1 || options.piece_size > INT_MAX)
            throw Error("MpiRingOptions: piece_size is " + std::to_string(options.piece_size) +
                        ", expected 1 to " + std::to_string(INT_MAX));
        options.overlap = detail::resolve(options.overlap);
        return options;
    }

    Hop start(const HopMessages& messages) {
        if (messages.outgoing.empty() && messages.incoming.empty()) return Hop(courier_);
        const auto route = [&](int peer) {
            return detail::Route{communicator_.get(), peer, messages.channel, options_.piece_size};
        };
        auto exchange = std::make_unique<detail::Exchange>(
            detail::Exchange::Context{rank_, messages.channel, hops_, log_.timeline});
        for (const auto& [to, bytes] : messages.outgoing) {
            log_.count_sent(messages.channel, bytes.size());
            tag_ = tag_ == detail::last_message_tag ? detail::first_message_tag : tag_ + 1;
            exchange->send(route(to), bytes, tag_);
        }
        for (const auto& [from, bytes] : messages.incoming) exchange->receive(route(from), bytes);
        courier_.start(*exchange);
        return Hop(courier_, log_.timeline, std::move(exchange));
    }

    detail::Communicator communicator_;
    int rank_;
    int ranks_;
    MpiRingOptions options_;
    RingLog log_;
    std::uint64_t hops_ = 0;
    int tag_ = detail::last_message_tag;  ///< of the last message
    detail::Courier courier_;
};

static_assert(Ring<MpiRing>);

}  // namespace ring_attention::inline RING_ATTENTION_ABI
