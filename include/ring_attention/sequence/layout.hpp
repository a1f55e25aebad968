#pragma once

#include <string>

#include <ring_attention/core/error.hpp>
#include <ring_attention/sequence/token_positions.hpp>

namespace ring_attention::inline RING_ATTENTION_ABI {

/// Part number i of `total` things in `parts` runs whose sizes differ by one at most; the first get the
/// extra.
inline IndexRange divide(Index total, Index parts, Index i) {
    const Index size = total / parts, extra = total % parts;
    return {i * size + std::min(i, extra), size + (i < extra ? 1 : 0)};
}

/// The part that thing number i is in: the inverse of divide.
inline Index part_of(Index total, Index parts, Index i) {
    const Index size = total / parts, extra = total % parts, in_larger = extra * (size + 1);
    return i < in_larger ? i / (size + 1) : extra + (i - in_larger) / size;
}

/// Which tokens sit at seat i of n. Where attention is causal, late tokens see more keys than early ones: all
/// but the first layout give every seat its part of both, so that the seats have equal work.
enum class Layout {
    contiguous,  ///< the i-th of n runs of neighbours
    zigzag,      ///< of 2n runs, number i and number 2n - 1 - i
    striped,     ///< tokens i, i + n, i + 2n, ...
};

constexpr const char* name_of(Layout layout) {
    switch (layout) {
        case Layout::contiguous:
            return "contiguous";
        case Layout::zigzag:
            return "zigzag";
        case Layout::striped:
            return "striped";
    }
    return "unknown";
}

/// Which tokens sit at which seat of the logical ring. Seats differ by one token at most. With fewer tokens
/// than seats the last seats are empty.
class ChunkLayout {
  public:
    /// Throws ShapeError unless both are at least 1.
    ChunkLayout(Index seq_len, Index num_seats, Layout layout = Layout::contiguous)
        : seq_len_(seq_len), num_seats_(num_seats), layout_(layout) {
        if (num_seats < 1)
            throw ShapeError("num_chunks is " + std::to_string(num_seats) + ", expected at least 1");
        if (seq_len < 1) throw ShapeError("seq_len is " + std::to_string(seq_len) + ", expected at least 1");
    }

    Index seq_len() const { return seq_len_; }
    Index num_seats() const { return num_seats_; }
    Layout layout() const { return layout_; }

    TokenPositions tokens(Index seat) const {
        const IndexRange run = divide(seq_len_, num_seats_, seat);
        switch (layout_) {
            case Layout::zigzag:
                return TokenPositions::two_runs(half(seat), half(2 * num_seats_ - 1 - seat));
            case Layout::striped:
                return {seat, run.count, num_seats_};
            default:
                return {run.first, run.count};
        }
    }

    /// The seat of the token at a position of the sequence.
    Index seat_of(Index position) const {
        switch (layout_) {
            case Layout::zigzag: {
                const Index run = part_of(seq_len_, 2 * num_seats_, position);
                return std::min(run, 2 * num_seats_ - 1 - run);
            }
            case Layout::striped:
                return position % num_seats_;
            default:
                return part_of(seq_len_, num_seats_, position);
        }
    }

    /// How many tokens the seats before this one have, and those before seat num_seats(): all.
    Index tokens_before(Index seat) const {
        if (layout_ != Layout::zigzag) return divide(seq_len_, num_seats_, seat).first;
        return half(seat).first + seq_len_ - half(2 * num_seats_ - seat).first;
    }

    /// Where the tokens of a seat stand among those of the seats [seats.first, seats.end()), which are taken
    /// in the order of the sequence.
    TokenPositions places(Index seat, const IndexRange& seats) const {
        switch (layout_) {
            case Layout::zigzag: {
                const IndexRange first = half(seat), second = half(2 * num_seats_ - 1 - seat);
                const Index before = half(seats.first).first;
                const Index between = half(2 * num_seats_ - seats.end()).first - half(seats.end()).first;
                return TokenPositions::two_runs({first.first - before, first.count},
                                                {second.first - between - before, second.count});
            }
            case Layout::striped:
                return {seat - seats.first, tokens(seat).count, seats.count};
            default:
                return {tokens_before(seat) - tokens_before(seats.first), tokens(seat).count};
        }
    }

    /// The seat of the last token of the sequence, which is the last of that seat.
    Index last_token_seat() const {
        const Index run = std::min(seq_len_, layout_ == Layout::zigzag ? 2 * num_seats_ : num_seats_) - 1;
        switch (layout_) {
            case Layout::zigzag:
                return std::min(run, 2 * num_seats_ - 1 - run);
            case Layout::striped:
                return (seq_len_ - 1) % num_seats_;
            default:
                return run;
        }
    }

    bool operator==(const ChunkLayout&) const = default;

  private:
    /// Zigzag: run number i of 2n.
    IndexRange half(Index i) const { return divide(seq_len_, 2 * num_seats_, i); }

    Index seq_len_;
    Index num_seats_;
    Layout layout_;
};

}  // namespace ring_attention::inline RING_ATTENTION_ABI
