#pragma once

#include <cstddef>
#include <cstdint>

#include <ring_attention/attention/backward_travel.hpp>

namespace ring_attention::inline RING_ATTENTION_ABI {

// What a rank sends in attention, as RingLog counts it. With n_j the keys of rank j of P, its keys and values
// are
//   bytes_j = batch key_value_heads n_j (key_width + value_width) (2 as Storage::bfloat16, else sizeof(T))
// A rank gets them where some query of its own sees one of these keys, once forward and once backward: from
// the rank after it, where that sees them too, or has them at home, and else from rank j. So
//   what all ranks together send of keys and values, forward = sum of bytes_j over all j, and all ranks other
//   than j that see them
// Of their gradients, always of sizeof(T), they send as many numbers again, and those of rank j each time
// that the gradients come home: once for every run of neighbouring ranks that see them. Backward everything
// goes in min(4, batch key_value_heads) messages, forward in one. So where there is no mask, the ranks of a
// ring together send P - 1 times the sequence's keys and values forward, and backward the same and P times
// their gradients. What the ranks tell each other before they begin (agree_on_share) goes on another channel,
// and is not counted here.

namespace detail {

/// The keys and values of a rank.
inline std::size_t key_value_numbers(const Share& keys_of_home, const HeadShape& shape) {
    return std::size_t(shape.batch_key_value_heads() * (shape.key_width + shape.value_width) *
                       keys_of_home.num_tokens());
}

/// The keys and values of rank `home`, or their gradients, are sent in so many messages.
inline void count_sent(Traffic& traffic, const AttentionPlan& plan, std::size_t number_size, int home,
                       Index messages) {
    traffic.messages += std::uint64_t(messages);
    traffic.bytes +=
        number_size * key_value_numbers(Share(plan.keys.layout(), home, plan.keys.ranks()), plan.heads);
}

}  // namespace detail

/// What the plan's rank sends on Channel::key_value in attention(). In attention_backward() it sends the same
/// bytes again, in messages_backward(plan) messages for each of these.
template <class T>
Traffic key_value_traffic(const AttentionPlan& plan) {
    const detail::Routes routes(plan);
    const std::size_t size = stored_size<T>(plan.storage);
    Traffic traffic;
    for (int step = 0; step + 1 < routes.ranks(); ++step) {
        if (routes.gives_on(step)) detail::count_sent(traffic, plan, size, routes.home(step), 1);
        if (routes.gives_own_to(step)) detail::count_sent(traffic, plan, size, routes.home(0), 1);
    }
    return traffic;
}

/// In how many messages, backward, the keys and values of a rank go a hop, and in how many their gradients.
inline std::uint64_t messages_backward(const AttentionPlan& plan) {
    return std::uint64_t(detail::num_travelling_parts(plan.heads));
}

/// What the plan's rank sends on Channel::gradient in attention_backward(): the gradients of all that has
/// visited it, on or home, and its own to those who see its keys and do not get them from another rank.
template <class T>
Traffic gradient_traffic(const AttentionPlan& plan) {
    const detail::Routes routes(plan);
    const Index messages = detail::num_travelling_parts(plan.heads);
    Traffic traffic;
    for (int step = 0; step < routes.ranks(); ++step) {
        if (step > 0 && routes.sees(step))
            detail::count_sent(traffic, plan, sizeof(T), routes.home(step), messages);
        if (routes.gives_own_to(step)) detail::count_sent(traffic, plan, sizeof(T), routes.home(0), messages);
    }
    return traffic;
}

}  // namespace ring_attention::inline RING_ATTENTION_ABI
