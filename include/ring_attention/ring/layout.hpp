#pragma once

#include <string>

#include <ring_attention/core/error.hpp>
#include <ring_attention/kernels/mask.hpp>

namespace ring_attention {

/// Part number i of `total` things in `parts` runs whose sizes differ by one at most; the first get the
/// extra.
inline Run divide(Index total, Index parts, Index i) {
    const Index size = total / parts, extra = total % parts;
    return {i * size + std::min(i, extra), size + (i < extra ? 1 : 0)};
}

/// Which tokens sit at which seat of the logical ring. With fewer tokens than seats the last seats are empty.
class ChunkLayout {
  public:
    /// Throws ShapeError unless both are at least 1.
    ChunkLayout(Index seq_len, Index num_seats) : seq_len_(seq_len), num_seats_(num_seats) {
        if (num_seats < 1)
            throw ShapeError("num_chunks is " + std::to_string(num_seats) + ", expected at least 1");
        if (seq_len < 1) throw ShapeError("seq_len is " + std::to_string(seq_len) + ", expected at least 1");
    }

    Index seq_len() const { return seq_len_; }
    Index num_seats() const { return num_seats_; }

    TokenRun tokens(Index seat) const {
        const Run run = divide(seq_len_, num_seats_, seat);
        return {run.first, run.count};
    }

    bool operator==(const ChunkLayout&) const = default;

  private:
    Index seq_len_;
    Index num_seats_;
};

/// What one rank holds: a run of neighbouring seats and the tokens on them.
class Share {
  public:
    /// Throws RingError where there are more ranks than seats.
    Share(const ChunkLayout& layout, int rank, int ranks) : layout_(layout), rank_(rank), ranks_(ranks) {
        if (ranks < 1 || ranks > layout.num_seats())
            throw RingError(std::to_string(ranks) + " ranks on " + std::to_string(layout.num_seats()) +
                            " seats (num_chunks), expected at least one seat a rank");
        seats_ = divide(layout.num_seats(), ranks, rank);
    }

    const ChunkLayout& layout() const { return layout_; }
    int rank() const { return rank_; }
    int ranks() const { return ranks_; }

    /// The share of the rank that sits `hops` ranks after this one.
    Share of_neighbour(int hops) const { return {layout_, (rank_ + hops) % ranks_, ranks_}; }

    /// The rank's seats that have tokens, its first ones: where there are fewer tokens than seats, the rest
    /// are empty and nothing is done for them.
    Index num_seats() const { return std::clamp<Index>(layout_.seq_len() - seats_.first, 0, seats_.count); }

    /// The tokens at this rank's seat number `local`, counted from 0.
    TokenRun tokens(Index local) const { return layout_.tokens(seats_.first + local); }

    Index first_position() const { return layout_.tokens(seats_.first).first; }

    Index num_tokens() const {
        const TokenRun last = layout_.tokens(seats_.end() - 1);
        return last.first + last.count - first_position();
    }

    bool operator==(const Share&) const = default;

  private:
    ChunkLayout layout_;
    int rank_;
    int ranks_;
    Run seats_;
};

}  // namespace ring_attention
