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
/// the heads are a message too. Gradients are of Storage::computing.
template <class T>
class KeyValueMessage {
  public:
    KeyValueMessage() = default;

    /// With any content.
    KeyValueMessage(const Share& keys_of_home, const HeadShape& shape, Storage storage = Storage::computing)
        : shape_(shape), storage_(storage) {
        seats_.reserve(std::size_t(keys_of_home.num_seats()));
        for (Index seat = 0; seat < keys_of_home.num_seats(); ++seat) {
            seats_.push_back({keys_of_home.tokens(seat), head_size_});
            head_size_ += seats_.back().tokens.count * (shape.key_width + shape.value_width);
        }
        const Index size = shape.batch_key_value_heads() * head_size_;
        storage == Storage::computing ? numbers_.resize(size) : rounded_.resize(size);
    }

    Storage storage() const { return storage_; }

    Index num_seats() const { return Index(seats_.size()); }

    KeyValueView<T> operator[](Index seat) { return at(seat, numbers_.data(), rounded_.data()); }
    KeyValueView<const T> operator[](Index seat) const { return at(seat, numbers_.data(), rounded_.data()); }

    KeyValues<T> views() { return views_of<T>(*this); }
    KeyValues<const T> views() const { return views_of<const T>(*this); }

    /// Of Storage::computing.
    void set_zero() { numbers_.setZero(); }

    std::span<const std::byte> bytes() const {
        if (storage_ == Storage::computing) return std::as_bytes(detail::numbers_of(numbers_));
        return std::as_bytes(detail::numbers_of(rounded_));
    }
    std::span<std::byte> bytes() {
        if (storage_ == Storage::computing) return std::as_writable_bytes(detail::numbers_of(numbers_));
        return std::as_writable_bytes(detail::numbers_of(rounded_));
    }

    /// Those of some of the key-value heads of all batch entries.
    std::span<const std::byte> bytes(const IndexRange& heads) const {
        const std::size_t of_head = std::size_t(head_size_) * stored_size<T>(storage_);
        return bytes().subspan(std::size_t(heads.first) * of_head, std::size_t(heads.count) * of_head);
    }

  private:
    struct Seat {
        TokenPositions tokens;
        Index offset;  ///< in a head
    };

    template <class Number>
    KeyValueView<Number> at(Index seat, Number* numbers, detail::Bfloat16Like<Number>* rounded) const {
        const Seat& place = seats_[std::size_t(seat)];
        const Index heads = shape_.key_value_heads, tokens = place.tokens.count;
        const auto part = [&]<class Any>(Any* first, Index width) {
            return HeadsView<Any>{first, heads, tokens, width, heads * head_size_, head_size_, width};
        };
        const Index keys = place.offset, values = keys + tokens * shape_.key_width;
        if (storage_ == Storage::computing)
            return {place.tokens, part(numbers + keys, shape_.key_width),
                    part(numbers + values, shape_.value_width)};
        return {place.tokens,
                {},
                {},
                storage_,
                part(rounded + keys, shape_.key_width),
                part(rounded + values, shape_.value_width)};
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
    Storage storage_ = Storage::computing;
    RowVector<T> numbers_;  // one of the two is empty
    RowVector<Bfloat16> rounded_;
};

namespace detail {

/// Copies the numbers of so many heads, and rounds them where they are to be rounded; seats and widths are
/// the same.
template <class T>
void copy_heads(const KeyValues<const T>& from, const KeyValues<T>& to, Index heads) {
    const auto copy_rows = [](const StoredRows<const T>& rows, const StoredRows<T>& copy) {
        for (Index i = 0; i < rows.count(); ++i) copy_row(rows, i, copy, i);
    };
    for (std::size_t seat = 0; seat < from.size(); ++seat)
        parallel_for(heads, [&](Index head) {
            copy_rows(from[seat].key_rows(head), to[seat].key_rows(head));
            copy_rows(from[seat].value_rows(head), to[seat].value_rows(head));
        });
}

}  // namespace detail

}  // namespace ring_attention::inline RING_ATTENTION_ABI
