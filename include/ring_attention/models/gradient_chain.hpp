#pragma once

#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include <ring_attention/layers/layer.hpp>
#include <ring_attention/ring/sum_in_seat_order.hpp>

namespace ring_attention::inline RING_ATTENTION_ABI {

namespace detail {

/// The parameters of a model one after the other, in the order of the walk: as one row of sums, whose parts
/// run through the ranks like a pipeline.
template <class T, Visitable Model>
JoinedSpan<T> joined_parameters(Model& model) {
    JoinedSpan<T> all;
    for_each_parameter(model, [&](std::string_view, auto& tensor) { all.add(numbers_of(tensor)); });
    return all;
}

}  // namespace detail

/// Runs backward(SeatGradients) so that `gradient` ends, on every rank, as rank 0's plus the contributions of
/// seats 0, 1, 2, ... in this order. Rank 0 begins the chain and adds in place; the others keep what each of
/// their seats adds apart until the sum so far arrives.
template <Visitable Model>
void add_seat_gradients(Model& gradient, RingReference ring, const Share& share, Index batch,
                        auto&& backward) {
    using T = typename Model::Scalar;
    const auto num_seats = std::size_t(share.num_seats());
    std::vector<Model> apart(ring.rank() == 0 ? 0 : num_seats, zeros_like(gradient));
    List<typename SeatGradients<Model>::Seat> seats;
    for (std::size_t seat = 0; seat < num_seats; ++seat)
        seats.push_back({apart.empty() ? &gradient : &apart[seat], rows_of_seat(share, batch, Index(seat))});
    backward(SeatGradients<Model>(std::move(seats)));
    if (ring.ranks() == 1) return;

    List<JoinedSpan<const T>> contributions;
    for (const Model& seat : apart) contributions.push_back(detail::joined_parameters<const T>(seat));
    add_in_seat_order(ring, detail::joined_parameters<T>(gradient), contributions);
}

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
