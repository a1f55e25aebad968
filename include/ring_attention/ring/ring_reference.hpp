#pragma once

#include <concepts>
#include <memory>
#include <type_traits>
#include <utility>

#include <ring_attention/ring/ring.hpp>

namespace ring_attention::inline RING_ATTENTION_ABI {

/// A Ring of whatever type: so attention, layers, models and losses are compiled once for all. It refers to
/// the ring, and does not keep it; like any reference it may be copied, and all copies are of the same ring.
class RingReference {
  public:
    /// What start_hop of the ring returned: it can be moved, and one that is never finished ends as it would
    /// by itself.
    class Hop {
      public:
        void finish() {
            if (hop_) finish_(hop_.get());
        }

      private:
        friend class RingReference;
        using Erased = std::unique_ptr<void, void (*)(void*)>;

        Hop(Erased hop, void (*finish_hop)(void*)) : hop_(std::move(hop)), finish_(finish_hop) {}

        Erased hop_;
        void (*finish_)(void*);
    };

    /// A temporary ring lives as long as the call that it is given to: f(RingReference ring = LocalRing()).
    template <class R>
    requires(Ring<std::remove_reference_t<R>> && !std::same_as<std::remove_cvref_t<R>, RingReference>)
        RingReference(R&& ring)
        : ring_(&ring),
          functions_(&functions_of<std::remove_reference_t<R>>),
          rank_(ring.rank()),
          ranks_(ring.ranks()) {}

    int rank() const { return rank_; }
    int ranks() const { return ranks_; }

    Hop start_hop(const HopMessages& messages) const { return functions_->start_hop(ring_, messages); }

    /// A hop of one message, or of none where there are no bytes: returns when they may be changed.
    void send(int to, Channel channel, std::span<const std::byte> bytes) const {
        HopMessages messages{channel};
        messages.send(to, bytes);
        start_hop(messages).finish();
    }
    /// The same: returns when the bytes are there.
    void receive(int from, Channel channel, std::span<std::byte> bytes) const {
        HopMessages messages{channel};
        messages.receive(from, bytes);
        start_hop(messages).finish();
    }

    void sum_in_rank_order(std::span<std::byte> sums, auto&& add) const {
        functions_->sum_in_rank_order(ring_, sums, Addition(add));
    }

    RingLog& log() const { return functions_->log(ring_); }

  private:
    /// What a rank adds to the sums of those before.
    class Addition {
      public:
        template <class Add>
        explicit Addition(Add& add)
            : add_(const_cast<void*>(static_cast<const void*>(&add))),
              call_([](void* erased, std::span<std::byte> part, std::size_t offset) {
                  (*static_cast<Add*>(erased))(part, offset);
              }) {}

        void operator()(std::span<std::byte> part, std::size_t offset) const { call_(add_, part, offset); }

      private:
        void* add_;
        void (*call_)(void*, std::span<std::byte>, std::size_t);
    };

    struct Functions {
        Hop (*start_hop)(void*, const HopMessages&);
        void (*sum_in_rank_order)(void*, std::span<std::byte>, const Addition&);
        RingLog& (*log)(void*);
    };

    template <class R>
    static constexpr Functions functions_of{
        [](void* ring, const HopMessages& messages) {
            using RingHop = decltype(static_cast<R*>(ring)->start_hop(messages));
            // There is memory for it before it starts: a hop that has started is never lost.
            return Hop(Hop::Erased(new RingHop(static_cast<R*>(ring)->start_hop(messages)),
                                   [](void* hop) { delete static_cast<RingHop*>(hop); }),
                       [](void* hop) { static_cast<RingHop*>(hop)->finish(); });
        },
        [](void* ring, std::span<std::byte> sums, const Addition& add) {
            static_cast<R*>(ring)->sum_in_rank_order(sums, add);
        },
        [](void* ring) -> RingLog& { return static_cast<R*>(ring)->log(); }};

    void* ring_;
    const Functions* functions_;
    int rank_, ranks_;
};

static_assert(Ring<RingReference>);

/// sum_in_rank_order() for numbers: add(part, first) gets a run of the numbers and the index of its first.
template <class T>
void sum_numbers_in_rank_order(RingReference ring, std::span<T> sums, auto&& add) {
    ring.sum_in_rank_order(std::as_writable_bytes(sums), [&](std::span<std::byte> part, std::size_t offset) {
        add(std::span<T>(reinterpret_cast<T*>(part.data()), part.size() / sizeof(T)),
            Index(offset / sizeof(T)));
    });
}

}  // namespace ring_attention::inline RING_ATTENTION_ABI
