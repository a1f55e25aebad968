#pragma once

#include <optional>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include <ring_attention/core/parameters.hpp>
#include <ring_attention/ring/ring_reference.hpp>
#include <ring_attention/ring/sum_in_seat_order.hpp>

namespace ring_attention::inline RING_ATTENTION_ABI {

namespace detail {

/// The numbers of a parameter, or those of all parameters of a layer one after the other, in the order of the
/// walk: as one row of sums, whose parts run through the ranks like a pipeline.
template <class T, class L>
JoinedSpan<T> joined_parameters(L& layer) {
    if constexpr (Visitable<std::remove_const_t<L>>) {
        JoinedSpan<T> all;
        for_each_parameter(layer, [&](std::string_view, auto& tensor) { all.add(numbers_of(tensor)); });
        return all;
    } else {
        return {numbers_of(layer)};
    }
}

}  // namespace detail

/// The gradient of a layer, or of one parameter, and what each seat is to add to it. A parameter takes one
/// full sum a seat, seat 0 first: so its bits do not depend on which rank holds which seats.
///
/// On several ranks the sums go from rank to rank, layer by layer. Rank 0 begins and adds in place; another
/// rank keeps what its seats add apart until the sum so far arrives. So it needs, beside the gradient, memory
/// for one of the layers that call for_each: as many times as it has seats, and once more for the sum that is
/// under way.
template <class L>
class SeatGradients {
  public:
    /// seats: the rows of each of this rank's seats. Without a ring all seats are here.
    SeatGradients(L& gradient, List<IndexRange> seats, std::optional<RingReference> ring = {})
        : gradient_(&gradient), seats_(std::move(seats)), ring_(ring) {}

    /// All rows are one seat.
    SeatGradients(L& gradient, Index rows) : SeatGradients(gradient, {{0, rows}}) {}

    /// Calls add(gradient, rows of the seat), seat by seat, which adds what these rows contribute: to the
    /// gradient, or to a layer of the same type and shapes that was zero. On return, the gradient has what
    /// all seats of all ranks add. All ranks call it together, those without a seat too: as often, and for
    /// the same layers in the same order.
    void for_each(auto&& add) const {
        const bool in_place = !ring_ || ring_->rank() == 0;
        std::vector<L> apart;
        if (!in_place) apart.reserve(seats_.size());
        for (const IndexRange& rows : seats_) add(in_place ? *gradient_ : apart.emplace_back(zeros()), rows);
        if (!ring_ || ring_->ranks() == 1) return;

        using T = typename L::Scalar;
        List<JoinedSpan<const T>> contributions;
        for (const L& of_seat : apart) contributions.push_back(detail::joined_parameters<const T>(of_seat));
        add_in_seat_order(*ring_, detail::joined_parameters<T>(*gradient_), contributions);
    }

    /// Those of a part of the layer: gradients.part([](auto& layer) -> auto& { return layer.qkv; }).
    auto part(auto&& member) const {
        auto& of_part = member(*gradient_);
        return SeatGradients<std::remove_reference_t<decltype(of_part)>>(of_part, seats_, ring_);
    }

  private:
    L zeros() const {
        if constexpr (Visitable<L>)
            return zeros_like(*gradient_);
        else
            return L::Zero(gradient_->rows(), gradient_->cols());
    }

    L* gradient_;
    List<IndexRange> seats_;
    std::optional<RingReference> ring_;
};

}  // namespace ring_attention::inline RING_ATTENTION_ABI
