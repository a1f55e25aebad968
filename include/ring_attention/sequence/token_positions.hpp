#pragma once

#include <algorithm>

#include <ring_attention/core/types.hpp>

namespace ring_attention::inline RING_ATTENTION_ABI {

/// Tokens of a chunk by their index in the chunk, in rising order of their position in the sequence: `stride`
/// apart, and from token `gap_at` on all of them `gap` positions further.
struct TokenPositions {
    Index first = 0;  ///< position of token 0
    Index count = 0;
    Index stride = 1;
    Index gap_at = 0;
    Index gap = 0;

    /// Two runs of neighbours, the second further on.
    static TokenPositions two_runs(const IndexRange& one, const IndexRange& other) {
        if (other.count == 0) return {one.first, one.count};
        if (one.count == 0) return {other.first, other.count};
        return {one.first, one.count + other.count, 1, one.count, other.first - one.end()};
    }

    Index position(Index index) const {
        return first + index * stride + (gap != 0 && index >= gap_at ? gap : 0);
    }

    /// Tokens [index, index + how_many) of the run.
    TokenPositions middle(Index index, Index how_many) const {
        TokenPositions part{position(index), how_many, stride};
        if (gap != 0 && index < gap_at && gap_at < index + how_many) {
            part.gap_at = gap_at - index;
            part.gap = gap;
        }
        return part;
    }

    /// How many tokens come before the gap: all, where there is none.
    Index before_gap() const { return gap != 0 ? gap_at : count; }

    /// How many of the tokens stand at or before the position: those with index 0 ... result - 1.
    Index count_up_to(Index position) const {
        if (gap == 0) return count_in_run(position, count);
        return count_in_run(position, gap_at) +
               std::max<Index>(0, count_in_run(position - gap, count) - gap_at);
    }

    /// The indices of the tokens that stand in an interval of positions.
    IndexRange indices(const IndexRange& positions) const {
        const Index begin = count_up_to(positions.first - 1);
        return {begin, std::max<Index>(0, count_up_to(positions.end() - 1) - begin)};
    }

    bool operator==(const TokenPositions&) const = default;

  private:
    /// As if the first `of` tokens were all, and had no gap.
    Index count_in_run(Index position, Index of) const {
        if (position < first) return 0;
        const Index before = position - first;
        return std::min(of, (stride == 1 ? before : before / stride) + 1);
    }
};

}  // namespace ring_attention::inline RING_ATTENTION_ABI
