#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include <ring_attention/core/tensor.hpp>
#include <ring_attention/core/types.hpp>

namespace ring_attention::inline RING_ATTENTION_ABI {

/// What there is to know of a batch of sequences beside its tokens.
struct Sequences {
    /// Positions at which a document begins, rising, the first 0: a token sees its own document, and
    /// positions count from its start. Of all batch entries; empty: one document.
    std::vector<Index> document_starts = {};
    /// How many tokens of each batch entry are true; padding behind them is seen by none. Empty: all.
    std::vector<Index> lengths = {};
    /// The type of each of this rank's tokens, [batch, tokens], for models with a table of them (TokenTypes).
    /// Empty: all 0, as those of tokens that are pushed to a Stream.
    Tensor<std::int32_t, 2> token_types = Tensor<std::int32_t, 2>();

    /// The true tokens of a batch entry.
    Index length(Index batch, Index seq_len) const {
        return lengths.empty() ? seq_len : lengths[std::size_t(batch)];
    }

    /// Where the document of the token at this position begins.
    Index document_start(Index position) const {
        if (document_starts.empty()) return 0;
        return std::upper_bound(document_starts.begin() + 1, document_starts.end(), position)[-1];
    }
};

}  // namespace ring_attention::inline RING_ATTENTION_ABI
