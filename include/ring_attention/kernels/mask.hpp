#pragma once

#include <algorithm>

#include <ring_attention/core/types.hpp>

namespace ring_attention {

/// Tokens of a chunk by their index in the chunk, in rising order of their position in the sequence.
struct TokenRun {
    Index first = 0;  ///< position of token 0
    Index count = 0;

    Index position(Index index) const { return first + index; }

    /// Tokens [index, index + how_many) of the run.
    TokenRun middle(Index index, Index how_many) const { return {position(index), how_many}; }

    /// How many of the tokens stand at or before the position: those with index 0 ... result - 1.
    Index count_up_to(Index position) const { return std::clamp<Index>(position - first + 1, 0, count); }
};

/// Which keys a query sees: the one place that says so. In every chunk they are its first keys.
struct Mask {
    bool causal = true;

    /// The number of keys of the chunk that a query at this position sees.
    Index visible(Index query_position, const TokenRun& keys) const {
        return causal ? keys.count_up_to(query_position) : keys.count;
    }
};

}  // namespace ring_attention
