#pragma once

#include <ring_attention/sequence/token_positions.hpp>

namespace ring_attention::inline RING_ATTENTION_ABI {

/// Which keys a query sees: the one place that says so. In every chunk they are its first keys.
struct Mask {
    bool causal = true;

    /// The number of keys of the chunk that a query at this position sees.
    Index visible(Index query_position, const TokenPositions& keys) const {
        return causal ? keys.count_up_to(query_position) : keys.count;
    }

    /// Whether any of the queries sees any of the keys.
    bool any_visible(const TokenPositions& queries, const TokenPositions& keys) const {
        return queries.count > 0 && visible(queries.position(queries.count - 1), keys) > 0;
    }
};

}  // namespace ring_attention::inline RING_ATTENTION_ABI
