#pragma once

#include <concepts>
#include <cstddef>
#include <span>

#include <ring_attention/core/types.hpp>
#include <ring_attention/ring/ring_log.hpp>

namespace ring_attention::inline RING_ATTENTION_ABI {

namespace detail {

struct AnyAddition {
    void operator()(std::span<std::byte>, std::size_t) const {}
};

}  // namespace detail

/// One rank's place in a ring of ranks. Attention, the models and the losses are written against this.
///
/// start_exchange(channel, sent, received) begins to send to the rank before and to receive from the rank
/// after, one hop of the ring; what it returns ends the hop with finish(), until when neither buffer may be
/// touched. Where there is nothing to send (an empty span) nothing is sent, and the neighbour expects
/// nothing. What start_exchange returns can be moved.
///
/// sum_in_rank_order(sums, add) hands the sums of rank 0 on from rank to rank. Each calls add(part, offset)
/// on consecutive parts of them in turn; in the end every rank holds what the last one made of them. So a sum
/// has one order, whatever the number of ranks. Parts begin and end at multiples of 16 bytes (but for the
/// last).
///
/// log() is where the ring counts what this rank sends, and where whoever computes adds to the timeline.
template <class R>
concept Ring = requires(R& ring, std::span<const std::byte> sent, std::span<std::byte> received) {
    { ring.rank() } -> std::convertible_to<int>;
    { ring.ranks() } -> std::convertible_to<int>;
    ring.start_exchange(Channel::key_value, sent, received).finish();
    ring.sum_in_rank_order(received, detail::AnyAddition{});
    { ring.log() } -> std::same_as<RingLog&>;
};

/// sum_in_rank_order() for numbers: add(part, first) gets a run of the numbers and the index of its first.
template <class T, Ring R>
void sum_numbers_in_rank_order(R& ring, std::span<T> sums, auto&& add) {
    ring.sum_in_rank_order(std::as_writable_bytes(sums), [&](std::span<std::byte> part, std::size_t offset) {
        add(std::span<T>(reinterpret_cast<T*>(part.data()), part.size() / sizeof(T)),
            Index(offset / sizeof(T)));
    });
}

}  // namespace ring_attention::inline RING_ATTENTION_ABI
