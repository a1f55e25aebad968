#pragma once

#include <algorithm>
#include <span>

#include <ring_attention/attention/heads.hpp>
#include <ring_attention/core/parallel.hpp>
#include <ring_attention/sequence/share.hpp>

namespace ring_attention::inline RING_ATTENTION_ABI {

/// What goes around the ring: keys and values (or the gradients of both) of every seat of one rank, in one
/// piece of memory: for each key-value head of each batch entry, a seat after the other, [tokens, key_width]
/// of keys and then [tokens, value_width] of values. The attention kernels read it as it lies, and some of
/// the heads are a message too.
template <class T>
class KeyValueMessage {
  public:
    KeyValueMessage() = default;

    /// With any content.
    KeyValueMessage(const Share& keys_of_home, const HeadShape& shape) : shape_(shape) {
        seats_.reserve(std::size_t(keys_of_home.num_seats()));
        for (Index seat = 0; seat < keys_of_home.num_seats(); ++seat) {
            seats_.push_back({keys_of_home.tokens(seat), head_size_});
            head_size_ += seats_.back().tokens.count * (shape.key_width + shape.value_width);
        }
        numbers_.resize(shape.batch_key_value_heads() * head_size_);
    }

    Index num_seats() const { return Index(seats_.size()); }

    KeyValueView<T> operator[](Index seat) { return at(seat, numbers_.data()); }
    KeyValueView<const T> operator[](Index seat) const { return at(seat, numbers_.data()); }

    KeyValues<T> views() { return views_of<T>(*this); }
    KeyValues<const T> views() const { return views_of<const T>(*this); }

    void set_zero() { numbers_.setZero(); }

    std::span<const std::byte> bytes() const { return std::as_bytes(detail::numbers_of(numbers_)); }
    std::span<std::byte> bytes() { return std::as_writable_bytes(detail::numbers_of(numbers_)); }

    /// Those of some of the key-value heads of all batch entries.
    std::span<const std::byte> bytes(const IndexRange& heads) const {
        return std::as_bytes(
            std::span(numbers_.data() + heads.first * head_size_, std::size_t(heads.count * head_size_)));
    }

  private:
    struct Seat {
        TokenPositions tokens;
        Index offset;  ///< in a head
    };

    template <class Number>
    KeyValueView<Number> at(Index seat, Number* numbers) const {
        const Seat& place = seats_[std::size_t(seat)];
        const Index heads = shape_.key_value_heads, tokens = place.tokens.count;
        const auto part = [&](Number* first, Index width) {
            return HeadsView<Number>{first, heads, tokens, width, heads * head_size_, head_size_, width};
        };
        Number* const keys = numbers + place.offset;
        return {place.tokens, part(keys, shape_.key_width),
                part(keys + tokens * shape_.key_width, shape_.value_width)};
    }

    template <class Number>
    static KeyValues<Number> views_of(auto& self) {
        KeyValues<Number> views;
        views.reserve(self.seats_.size());
        for (Index seat = 0; seat < self.num_seats(); ++seat) views.push_back(self[seat]);
        return views;
    }

    HeadShape shape_;
    List<Seat> seats_;
    Index head_size_ = 0;
    RowVector<T> numbers_;
};

namespace detail {

/// Copies the numbers of so many heads; seats and widths are the same.
template <class T>
void copy_heads(const KeyValues<const T>& from, const KeyValues<T>& to, Index heads) {
    const auto copy_rows = [](MatrixView<const T> rows, MatrixView<T> copy) {
        for (Index i = 0; i < rows.rows; ++i) std::copy_n(&rows(i, 0), rows.cols, &copy(i, 0));
    };
    for (std::size_t seat = 0; seat < from.size(); ++seat)
        parallel_for(heads, [&](Index head) {
            copy_rows(from[seat].key(head), to[seat].key(head));
            copy_rows(from[seat].value(head), to[seat].value(head));
        });
}

}  // namespace detail

}  // namespace ring_attention::inline RING_ATTENTION_ABI
