#pragma once

#include <string>

#include <ring_attention/core/memory.hpp>
#include <ring_attention/ring/ring.hpp>
#include <ring_attention/sequence/layout.hpp>

namespace ring_attention::inline RING_ATTENTION_ABI {

/// What one rank holds: a run of neighbouring seats and the tokens on them. In the tensors that a rank gives
/// and gets, its tokens stand in the order of the sequence.
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

    /// The number in the logical ring of the rank's first seat.
    Index first_seat() const { return seats_.first; }

    /// "4-5"
    std::string seats_text() const {
        const std::string first = std::to_string(seats_.first);
        return seats_.count == 1 ? first : first + "-" + std::to_string(seats_.end() - 1);
    }

    /// The rank's seats that have tokens, its first ones: where there are fewer tokens than seats, the rest
    /// are empty and nothing is done for them.
    Index num_seats() const { return std::clamp<Index>(layout_.seq_len() - seats_.first, 0, seats_.count); }

    /// The tokens at this rank's seat number `local`, counted from 0.
    TokenPositions tokens(Index local) const { return layout_.tokens(seats_.first + local); }

    /// Where these stand among the rank's tokens, in the order of the sequence.
    TokenPositions places(Index local) const { return layout_.places(seats_.first + local, seats_); }

    /// How many tokens the rank has at seats before this one.
    Index tokens_before(Index local) const {
        return layout_.tokens_before(seats_.first + local) - layout_.tokens_before(seats_.first);
    }

    Index num_tokens() const { return tokens_before(seats_.count); }

    /// The positions in the sequence of the rank's tokens, in rising order.
    List<Index> positions() const {
        List<Index> positions(static_cast<std::size_t>(num_tokens()));
        for (Index seat = 0; seat < num_seats(); ++seat) {
            const TokenPositions at = places(seat), is = tokens(seat);
            for (Index i = 0; i < at.count; ++i) positions[std::size_t(at.position(i))] = is.position(i);
        }
        return positions;
    }

    /// Whether the last token of the sequence is at this seat, where it is the last.
    bool has_last_token(Index local) const { return seats_.first + local == layout_.last_token_seat(); }

    bool operator==(const Share&) const = default;

  private:
    ChunkLayout layout_;
    int rank_;
    int ranks_;
    IndexRange seats_;
};

/// The tokens that this rank of a ring is to hold of a sequence. Throws ShapeError where seq_len or
/// num_chunks is below 1, RingError where there are more ranks than chunks.
template <Ring R>
Share share(const R& ring, Index seq_len, Index num_chunks, Layout layout = Layout::contiguous) {
    return {ChunkLayout(seq_len, num_chunks, layout), ring.rank(), ring.ranks()};
}

/// The same for a model: share<options>(ring, seq_len).
template <auto options, Ring R>
Share share(const R& ring, Index seq_len) {
    return share(ring, seq_len, options.num_chunks, options.layout);
}

}  // namespace ring_attention::inline RING_ATTENTION_ABI
