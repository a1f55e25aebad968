#pragma once

#include <algorithm>
#include <type_traits>

#include <ring_attention/attention/seat_views.hpp>
#include <ring_attention/core/parallel.hpp>
#include <ring_attention/core/tensor.hpp>
#include <ring_attention/sequence/share.hpp>

namespace ring_attention::inline RING_ATTENTION_ABI::detail {

/// A tensor [batch, heads, tokens of the rank, width], seen seat by seat: where it lies if the tokens of a
/// seat are neighbours in it, else in a copy.
template <class T>
class SeatedTensor {
  public:
    using Number = std::remove_const_t<T>;

    SeatedTensor(T* numbers, Index batch, Index heads, Index width, const Share& share)
        : share_(share),
          batch_heads_(batch * heads),
          all_(HeadsView<T>::head_by_head(numbers, heads, share.num_tokens(), width)) {
        const bool in_place = share.layout().layout() == Layout::contiguous || share.num_seats() < 2;
        if (in_place) {
            for (Index seat = 0; seat < share.num_seats(); ++seat)
                seats_.push_back(all_.middle_tokens(share.tokens_before(seat), share.tokens(seat).count));
            return;
        }
        copy_.resize(batch_heads_ * share.num_tokens() * width);
        List<TokenPositions> tokens;
        for (Index seat = 0; seat < share.num_seats(); ++seat) tokens.push_back(share.tokens(seat));
        seats_ = head_by_head<T>(copy_.data(), tokens, batch, heads, width);
        enter();
    }

    const SeatHeads<T>& seats() const { return seats_; }

    /// Brings what was written to the seats to the tensor.
    void leave() const {
        if (copy_.size() > 0)
            for_each_row(
                [](T* in_tensor, T* at_seat, Index width) { std::copy_n(at_seat, width, in_tensor); });
    }

  private:
    void enter() {
        for_each_row([&](T* in_tensor, T* at_seat, Index width) {
            std::copy_n(in_tensor, width, copy_.data() + (at_seat - copy_.data()));
        });
    }

    void for_each_row(auto&& f) const {
        for (Index seat = 0; seat < share_.num_seats(); ++seat) {
            const TokenPositions places = share_.places(seat);
            parallel_for(batch_heads_, [&](Index head) {
                const auto tensor = all_(head), at_seat = seats_[std::size_t(seat)](head);
                for (Index i = 0; i < places.count; ++i)
                    f(&tensor(places.position(i), 0), &at_seat(i, 0), all_.width);
            });
        }
    }

    const Share& share_;
    Index batch_heads_;
    HeadsView<T> all_;
    RowVector<Number> copy_;
    SeatHeads<T> seats_;
};

/// tensor: [batch, heads, tokens of the rank, width], or without width.
template <class T, int rank>
SeatedTensor<const T> seated(const Tensor<T, rank>& tensor, const Share& share) {
    return {tensor.data(), tensor.dimension(0), tensor.dimension(1),
            rank == 4 ? tensor.dimensions().back() : 1, share};
}
template <class T, int rank>
SeatedTensor<T> seated(Tensor<T, rank>& tensor, const Share& share) {
    return {tensor.data(), tensor.dimension(0), tensor.dimension(1),
            rank == 4 ? tensor.dimensions().back() : 1, share};
}

/// The heads of a tensor [batch or 1, heads or 1, ...] as those of [batch, heads, ...], of which several are
/// one.
template <class T>
SeatHeads<T> broadcast(const SeatHeads<T>& seats, const HeadShape& shape, bool over_batch, bool over_heads) {
    SeatHeads<T> all = seats;
    for (HeadsView<T>& seat : all) {
        seat.heads = shape.heads;
        if (over_heads) seat.head_stride = 0;
        if (over_batch) seat.batch_stride = 0;
    }
    return all;
}

}  // namespace ring_attention::inline RING_ATTENTION_ABI::detail
