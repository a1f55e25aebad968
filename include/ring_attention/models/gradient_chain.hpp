#pragma once

#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include <ring_attention/layers/layer.hpp>
#include <ring_attention/ring/seat_sum.hpp>

namespace ring_attention {

namespace detail {

/// The parameters of a model as spans, in the order of the walk.
template <class T, Visitable Model>
std::vector<std::span<T>> parameter_spans(Model& model) {
    std::vector<std::span<T>> spans;
    for_each_parameter(model, [&](std::string_view, auto& tensor) {
        spans.emplace_back(tensor.data(), std::size_t(tensor.size()));
    });
    return spans;
}

}  // namespace detail

/// Runs backward(SeatGradients) so that `gradient` ends, on every rank, as rank 0's plus the contributions of
/// seats 0, 1, 2, ... in this order. Rank 0 begins the chain and adds in place; the others keep what each of
/// their seats adds apart until the sum so far arrives.
template <Visitable Model, Ring R>
void add_seat_gradients(Model& gradient, R& ring, const Share& share, Index batch, auto&& backward) {
    using T = typename Model::Scalar;
    const auto num_seats = std::size_t(share.num_seats());
    std::vector<Model> apart(ring.rank() == 0 ? 0 : num_seats, zeros_like(gradient));
    List<typename SeatGradients<Model>::Seat> seats;
    for (std::size_t seat = 0; seat < num_seats; ++seat)
        seats.push_back({apart.empty() ? &gradient : &apart[seat], rows_of_seat(share, batch, Index(seat))});
    backward(SeatGradients<Model>(std::move(seats)));
    if (ring.ranks() == 1) return;

    const std::vector<std::span<T>> totals = detail::parameter_spans<T>(gradient);
    std::vector<List<std::span<const T>>> contributions(totals.size());
    for (const Model& seat : apart) {
        const auto spans = detail::parameter_spans<const T>(seat);
        for (std::size_t i = 0; i < spans.size(); ++i) contributions[i].push_back(spans[i]);
    }
    for (std::size_t i = 0; i < totals.size(); ++i) add_in_seat_order(ring, totals[i], contributions[i]);
}

}  // namespace ring_attention
