#pragma once

#include <cstddef>
#include <cstdint>

#include <ring_attention/attention/backward_travel.hpp>

namespace ring_attention::inline RING_ATTENTION_ABI {

// What a rank sends in attention, as RingLog counts it. With n_j the tokens of rank j of P, its keys and
// values are
//   bytes_j = 2 batch heads n_j head_dim sizeof(T)
// Rank r sends on those of r + h (mod P) at hop h = 0 ... P - 2, as long as somebody further on sees any of
// them (hops_to_travel): forward in one message, backward in min(4, batch heads),
//   key_value = sum over these h of bytes_(r + h)
// Gradients go around the whole ring, h = 0 ... P - 1, in as many messages:
//   gradient = sum over all h of bytes_(r + h)
// but those of keys and values that no other rank sees stay at home. So where there is no mask, the ranks of
// a ring together send P - 1 times the sequence's keys and values forward, and 2 P - 1 times backward; the
// causal mask leaves out one rank's of the contiguous layout, and of the others nothing. What the ranks tell
// each other before they begin (agree_on_share) goes on another channel, and is not counted here.

namespace detail {

/// The keys and values of a rank.
template <class T>
std::size_t key_value_bytes(const Share& home, const HeadShape& shape) {
    return 2 * sizeof(T) * std::size_t(shape.batch_heads() * shape.head_dim * home.num_tokens());
}

}  // namespace detail

/// What a rank sends on Channel::key_value in attention(). In attention_backward() it sends the same bytes
/// again, in messages_backward(shape) messages for each of these.
template <class T>
Traffic key_value_traffic(const Share& share, const HeadShape& shape, const Mask& mask) {
    Traffic traffic;
    for (int hop = 0; hop + 1 < share.ranks(); ++hop) {
        const Share home = share.of_neighbour(hop);
        if (!travels_on(home, hop, mask)) continue;
        ++traffic.messages;
        traffic.bytes += detail::key_value_bytes<T>(home, shape);
    }
    return traffic;
}

/// In how many messages, backward, keys and values of a rank go a hop, and in how many their gradients.
inline std::uint64_t messages_backward(const HeadShape& shape) {
    return std::uint64_t(detail::num_travelling_parts(shape));
}

/// What a rank sends on Channel::gradient in attention_backward().
template <class T>
Traffic gradient_traffic(const Share& share, const HeadShape& shape, const Mask& mask) {
    Traffic traffic;
    for (int hop = 0; hop < share.ranks(); ++hop) {
        const Share home = share.of_neighbour(hop);
        if (!travels_on(home, 0, mask)) continue;
        traffic.messages += messages_backward(shape);
        traffic.bytes += detail::key_value_bytes<T>(home, shape);
    }
    return traffic;
}

}  // namespace ring_attention::inline RING_ATTENTION_ABI
