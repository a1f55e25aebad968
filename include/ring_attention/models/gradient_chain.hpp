#pragma once

#include <ring_attention/layers/seat_gradients.hpp>

namespace ring_attention::inline RING_ATTENTION_ABI {

/// Replaces each rank's gradient by the sum of all, in the order of the ranks. For replicas of a model, which
/// have trained on parts of a batch: here a rank is a replica.
template <Visitable Model>
void add_over_ranks(RingReference ring, Model& gradient) {
    using T = typename Model::Scalar;
    List<JoinedSpan<const T>> contributions;
    const Model& own = gradient;
    if (ring.rank() > 0) contributions.push_back(detail::joined_parameters<const T>(own));
    add_in_seat_order(ring, detail::joined_parameters<T>(gradient), contributions);
}

}  // namespace ring_attention::inline RING_ATTENTION_ABI
