#pragma once

#include <algorithm>
#include <optional>

#include <ring_attention/core/memory.hpp>
#include <ring_attention/sequence/layout.hpp>

namespace ring_attention::inline RING_ATTENTION_ABI {

/// Which tokens of a stream's document sit at which seat of the logical ring. Tokens that came one after the
/// other go to the seats in turn, a block of neighbours each, so that no seat has more than a block more than
/// another, however long the document becomes; where the first tokens were computed over the ring, each seat
/// keeps those that it has computed, and blocks follow. The tokens of a seat are numbered from 0, in the
/// order of their positions: so each has a place in the memory of the seat.
class StreamLayout {
  public:
    /// Long enough that a kernel reads keys in long runs, and so short that a document of a few thousand
    /// tokens, from where on sharing saves time, is spread over all seats.
    static constexpr Index block = 256;

    /// Of a document that begins at the position `first` of the stream.
    explicit StreamLayout(Index num_seats, Index first = 0)
        : num_seats_(num_seats), first_(first), first_of_blocks_(first) {}

    /// Of one that begins with a sequence that sits so, at the first position of the stream.
    explicit StreamLayout(const ChunkLayout& prompt)
        : num_seats_(prompt.num_seats()), first_of_blocks_(prompt.seq_len()), prompt_(prompt) {}

    Index num_seats() const { return num_seats_; }
    Index first() const { return first_; }

    /// How many tokens of the document before this position a seat has: the number of the first that it has
    /// of those from there on.
    Index count_before(Index seat, Index position) const {
        const Index of_prompt = prompt_ ? prompt_->tokens(seat).count_up_to(position - 1) : 0;
        return of_prompt + count_in_blocks(seat, position - first_of_blocks_);
    }

    Index count(Index seat, const IndexRange& positions) const {
        return count_before(seat, positions.end()) - count_before(seat, positions.first);
    }

    /// The most that a seat has of so many neighbours that came one after the other.
    Index most_of(Index count) const { return count / period() * block + std::min(block, count % period()); }

    /// The tokens that a seat has in an interval of positions of the document, in rising order.
    List<TokenPositions> tokens(Index seat, const IndexRange& positions) const {
        List<TokenPositions> runs;
        if (prompt_) {
            const TokenPositions all = prompt_->tokens(seat);
            const IndexRange within = all.indices(positions);
            if (within.count > 0) runs.push_back(all.middle(within.first, within.count));
        }
        const Index begin = std::max(positions.first, first_of_blocks_), end = positions.end();
        if (begin >= end) return runs;
        Index next = first_of_blocks_ + (begin - first_of_blocks_) / period() * period() + seat * block;
        for (; next < end; next += period()) {
            const Index from = std::max(begin, next), to = std::min(end, next + block);
            if (from < to) append({from, to - from}, runs);
        }
        return runs;
    }

  private:
    Index period() const { return block * num_seats_; }

    Index count_in_blocks(Index seat, Index count) const {
        if (count <= 0) return 0;
        return count / period() * block + std::clamp<Index>(count % period() - seat * block, 0, block);
    }

    /// To the last run, where it goes on from there.
    static void append(const TokenPositions& run, List<TokenPositions>& runs) {
        if (!runs.empty()) {
            TokenPositions& last = runs.back();
            if (last.stride == 1 && last.gap == 0 && last.position(last.count) == run.first) {
                last.count += run.count;
                return;
            }
        }
        runs.push_back(run);
    }

    Index num_seats_;
    Index first_ = 0;
    Index first_of_blocks_;  // position
    std::optional<ChunkLayout> prompt_;
};

}  // namespace ring_attention::inline RING_ATTENTION_ABI
