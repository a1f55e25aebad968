#pragma once

#include <concepts>
#include <cstddef>
#include <span>

#include <ring_attention/core/memory.hpp>
#include <ring_attention/core/types.hpp>
#include <ring_attention/ring/ring_log.hpp>

namespace ring_attention::inline RING_ATTENTION_ABI {

namespace detail {

struct AnyAddition {
    void operator()(std::span<std::byte>, std::size_t) const {}
};

}  // namespace detail

/// What a rank sends to others and receives from others in one hop of the ring, on one channel. An empty span
/// is no message, and the other rank must expect none. Messages of one hop between the same two ranks are
/// matched in the order in which they stand here.
struct HopMessages {
    struct Outgoing {
        int to;
        std::span<const std::byte> bytes;
    };
    struct Incoming {
        int from;
        std::span<std::byte> bytes;
    };

    Channel channel{};
    List<Outgoing> outgoing{};
    List<Incoming> incoming{};

    void send(int to, std::span<const std::byte> bytes) {
        if (!bytes.empty()) outgoing.push_back({to, bytes});
    }
    void receive(int from, std::span<std::byte> bytes) {
        if (!bytes.empty()) incoming.push_back({from, bytes});
    }
};

/// One rank's place in a ring of ranks. Attention, the models and the losses are written against this.
///
/// start_hop(messages) begins to send and to receive; what it returns ends the hop with finish(), until when
/// the bytes may not be touched. Whom a message is for must receive it in a hop of its own, sooner or later,
/// and all messages of a hop are on their way before one is waited for; so ranks that take the same hops in
/// the same order never wait for each other in a circle. What start_hop returns can be moved.
///
/// sum_in_rank_order(sums, add) hands the sums of rank 0 on from rank to rank. Each calls add(part, offset)
/// on consecutive parts of them in turn; in the end every rank holds what the last one made of them. So a sum
/// has one order, whatever the number of ranks. Parts begin and end at multiples of 16 bytes (but for the
/// last).
///
/// log() is where the ring counts what this rank sends, and where whoever computes adds to the timeline.
template <class R>
concept Ring = requires(R& ring, const HopMessages& messages, std::span<std::byte> sums) {
    { ring.rank() } -> std::convertible_to<int>;
    { ring.ranks() } -> std::convertible_to<int>;
    ring.start_hop(messages).finish();
    ring.sum_in_rank_order(sums, detail::AnyAddition{});
    { ring.log() } -> std::same_as<RingLog&>;
};

}  // namespace ring_attention::inline RING_ATTENTION_ABI
