#pragma once

#include <algorithm>

#include <ring_attention/core/memory.hpp>
#include <ring_attention/sequence/token_positions.hpp>

namespace ring_attention::inline RING_ATTENTION_ABI {

/// Which keys a query sees: the one place that says so. All rules speak of positions in the key sequence, and
/// leave a query an interval of them, neither end of which ever falls as the query moves on. So a tile of
/// queries is judged by its first and its last.
struct Mask {
    Index key_len = 0;
    bool causal = true;
    Index window = 0;               ///< 0: none; else a query sees |query - key| < window
    Index prefix = 0;               ///< keys before it are seen by every query of their document
    List<Index> document_starts{};  ///< rising, the first 0; empty: one document
    List<Index> lengths{};          ///< of each batch entry's keys; empty: all

    /// The positions that a query at this position sees; the query may stand before or behind all keys.
    IndexRange visible(Index batch, Index query) const {
        return visible_of(query, lengths.empty() ? key_len : lengths[std::size_t(batch)]);
    }

    /// The same for the batch entry that has most keys: what some batch entry sees.
    IndexRange visible_to_some(Index query) const { return visible_of(query, longest()); }

    /// Whether any of the queries sees any of the keys, in some batch entry.
    bool any_visible(const TokenPositions& queries, const TokenPositions& keys) const {
        const Index gap_at = queries.before_gap();
        return any_visible_to_run(queries, {0, gap_at}, keys) ||
               any_visible_to_run(queries, {gap_at, queries.count - gap_at}, keys);
    }

  private:
    Index longest() const {
        return lengths.empty() ? key_len : *std::max_element(lengths.begin(), lengths.end());
    }

    IndexRange visible_of(Index query, Index length) const {
        Index begin = 0, end = length;
        if (causal) end = std::min(end, std::max(query + 1, prefix));
        if (window > 0) {
            begin = std::max(begin, query - window + 1);
            if (!causal) end = std::min(end, query + window);
        }
        if (!document_starts.empty()) {
            const auto next = std::upper_bound(document_starts.begin() + 1, document_starts.end(), query);
            begin = std::max(begin, next[-1]);
            if (next != document_starts.end()) end = std::min(end, *next);
        }
        end = std::max<Index>(end, 0);
        begin = std::min(begin, end);
        return {begin, end - begin};
    }

    /// Neighbours see an interval together. Queries that stand apart may leave holes in it, so each is asked.
    bool any_visible_to_run(const TokenPositions& queries, const IndexRange& run,
                            const TokenPositions& keys) const {
        if (run.count == 0) return false;
        const auto sees = [&](Index first, Index last) {
            const Index begin = visible_to_some(queries.position(first)).first,
                        end = visible_to_some(queries.position(last)).end();
            return keys.indices({begin, end - begin}).count > 0;
        };
        if (!sees(run.first, run.end() - 1)) return false;
        if (queries.stride == 1) return true;
        for (Index query = run.first; query < run.end(); ++query)
            if (sees(query, query)) return true;
        return false;
    }
};

}  // namespace ring_attention::inline RING_ATTENTION_ABI
