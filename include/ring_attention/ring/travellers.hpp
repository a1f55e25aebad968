#pragma once

#include <span>
#include <vector>

#include <ring_attention/kernels/matrix_view.hpp>
#include <ring_attention/ring/layout.hpp>

namespace ring_attention {

/// What the heads of an attention are.
struct HeadShape {
    Index batch = 0;
    Index heads = 0;
    Index head_dim = 0;

    Index batch_heads() const { return batch * heads; }
};

/// What goes around the ring: a key and a value (or the gradients of both) for every seat of one rank, each
/// [batch * heads * tokens of the seat, head_dim], in one piece of memory, which is one message.
template <class T>
class Travellers {
  public:
    Travellers() = default;

    Travellers(const Share& home, const HeadShape& shape) : shape_(shape) {
        Index size = 0;
        for (Index seat = 0; seat < home.num_seats(); ++seat) {
            const TokenRun tokens = home.tokens(seat);
            seats_.push_back({tokens, size});
            size += 2 * shape.batch_heads() * tokens.count * shape.head_dim;
        }
        numbers_ = RowVector<T>::Zero(size);
    }

    Index num_seats() const { return Index(seats_.size()); }
    TokenRun tokens(Index seat) const { return seats_[std::size_t(seat)].tokens; }

    /// [batch * heads * tokens, head_dim]
    MatrixView<T> keys(Index seat) { return part(*this, seat, 0); }
    MatrixView<T> values(Index seat) { return part(*this, seat, 1); }
    MatrixView<const T> keys(Index seat) const { return part(*this, seat, 0); }
    MatrixView<const T> values(Index seat) const { return part(*this, seat, 1); }

    /// [tokens, head_dim] of one head of one batch entry
    auto key(Index seat, Index batch_head) { return head(keys(seat), seat, batch_head); }
    auto value(Index seat, Index batch_head) { return head(values(seat), seat, batch_head); }
    auto key(Index seat, Index batch_head) const { return head(keys(seat), seat, batch_head); }
    auto value(Index seat, Index batch_head) const { return head(values(seat), seat, batch_head); }

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

    static auto part(auto& self, Index seat, Index which) {
        const Seat& at = self.seats_[std::size_t(seat)];
        const Index rows = self.shape_.batch_heads() * at.tokens.count, cols = self.shape_.head_dim;
        auto* data = self.numbers_.data() + at.offset + which * rows * cols;
        return MatrixView<std::remove_pointer_t<decltype(data)>>{data, rows, cols, cols, 1};
    }

    auto head(auto matrix, Index seat, Index batch_head) const {
        const Index tokens = seats_[std::size_t(seat)].tokens.count;
        return matrix.middle_rows(batch_head * tokens, tokens);
    }

    HeadShape shape_;
    std::vector<Seat> seats_;
    RowVector<T> numbers_;
};

}  // namespace ring_attention
