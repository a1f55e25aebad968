#pragma once

#include <span>

#include <ring_attention/ring/heads.hpp>
#include <ring_attention/ring/share.hpp>

namespace ring_attention {

/// What goes around the ring: a key and a value (or the gradients of both) for every seat of one rank, each
/// [batch, heads, tokens of the seat, head_dim], in one piece of memory, which is one message. The attention
/// kernels read it as it lies.
template <class T>
class Travellers {
  public:
    Travellers() = default;

    /// With any content.
    Travellers(const Share& home, const HeadShape& shape) : shape_(shape) {
        Index size = 0;
        seats_.reserve(std::size_t(home.num_seats()));
        for (Index seat = 0; seat < home.num_seats(); ++seat) {
            seats_.push_back({home.tokens(seat), size});
            size += 2 * part_size(seat);
        }
        numbers_.resize(size);
    }

    Index num_seats() const { return Index(seats_.size()); }

    KeyValueView<T> operator[](Index seat) { return at(seat, numbers_.data()); }
    KeyValueView<const T> operator[](Index seat) const { return at(seat, numbers_.data()); }

    KeyValues<T> views() { return views_of<T>(*this); }
    KeyValues<const T> views() const { return views_of<const T>(*this); }

    void set_zero() { numbers_.setZero(); }

    std::span<const std::byte> bytes() const {
        return std::as_bytes(std::span(numbers_.data(), std::size_t(numbers_.size())));
    }
    std::span<std::byte> bytes() {
        return std::as_writable_bytes(std::span(numbers_.data(), std::size_t(numbers_.size())));
    }

  private:
    struct Seat {
        TokenRun tokens;
        Index offset;
    };

    Index part_size(Index seat) const {
        return shape_.batch_heads() * seats_[std::size_t(seat)].tokens.count * shape_.head_dim;
    }

    template <class Number>
    KeyValueView<Number> at(Index seat, Number* numbers) const {
        const Seat& place = seats_[std::size_t(seat)];
        const auto part = [&](Index which) {
            return HeadsView<Number>::head_by_head(numbers + place.offset + which * part_size(seat), shape_,
                                                   place.tokens.count, shape_.head_dim);
        };
        return {place.tokens, part(0), part(1)};
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
    RowVector<T> numbers_;
};

}  // namespace ring_attention
