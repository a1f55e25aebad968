#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <limits>
#include <span>

#include <ring_attention/attention/block_so_far.hpp>
#include <ring_attention/attention/forward_tile.hpp>
#include <ring_attention/attention/log_sum_exp.hpp>
#include <ring_attention/attention/paired_products.hpp>
#include <ring_attention/attention/scores.hpp>
#include <ring_attention/attention/softmax_tile.hpp>
#include <ring_attention/attention/tile.hpp>
#include <ring_attention/core/floating_point_modes.hpp>
#include <ring_attention/kernels/finite_rows.hpp>

RING_ATTENTION_PRECISE_BEGIN
namespace ring_attention::inline RING_ATTENTION_ABI::detail {

// Attention of one head, forward (online softmax; Milakov, Gimelshein 2018, 1805.02867, and Liu, Zaharia,
// Abbeel 2023, 2310.01889, algorithm 1). A query is a lane: scores, maxima, sums and outputs are kept
// transposed, so that nothing is ever summed across lanes, and keys and values are read as they lie, in rows.
//   scores^T = key query^T              (N,D) x (D,M) => (N,M)
//   weights^T = 2^(scores^T scale log2(e) - maximum)
//   output^T = output^T decay + value^T weights^T        (D,N) x (N,M) => (D,M)
// M queries of a tile, N keys of a tile. Queries of all heads that read the same keys are rows of one block.
// What else a score is to become (scores.hpp) happens between product and softmax.

/// Up to `max_queries` queries of a group of heads that absorb one chunk of keys and values after the other:
/// one block at a time on a thread.
template <Real T>
class QueryBlock {
    using Tile = AttentionTile<T>;
    static constexpr int lanes = Tile::lanes;

  public:
    static constexpr Index max_queries = BlockSoFar<T>::max_queries;

    /// The rows of key-value head number `batch_head` at a seat: `tokens` are the tokens there, `rows` which
    /// of their rows (GroupRows). query: (tokens, heads, D).
    QueryBlock(const AttentionPlan& plan, const ScoreTerms<T>& terms, Index seat, Index batch_head,
               const HeadsView<const T>& query, const TokenPositions& tokens, const IndexRange& rows)
        : mask_(plan.mask),
          tokens_(tokens),
          group_(plan.heads.group()),
          batch_(batch_head / plan.heads.key_value_heads),
          rows_(rows),
          key_width_(plan.heads.key_width),
          value_width_(plan.heads.value_width),
          paired_(rounds_queries<T>(plan)),
          scores_of_(plan, terms, seat, batch_head, group_, tokens, rows),
          so_far_(plan.heads, batch_head, rows, base2_scale(scores_of_.scale())),
          memory_(so_far_.memory()) {
        if (paired_) pairs_.take_memory(plan.heads, max_queries);
        const auto given = query.group_rows(batch_head, group_).middle_rows(rows.first, rows.count);
        for_each_tile<T>(rows.count, [&](auto, Index first, Index count) {
            const Index next = first + count;
            prefetch<T>(given.middle_rows(next, std::min<Index>(lanes, rows.count - next)));
            T* const packed = memory_.query + first * key_width_;
            pack_lanes<T>(given.middle_rows(first, count), packed, memory_.scores);
            multiply_numbers<T>(packed, lanes * key_width_, scores_of_.query_factor());
            if constexpr (can_pair<T>)
                if (paired_) pairs_.set_queries(first, packed);
        });
    }

    /// What the queries have of the chunks so far.
    BlockSoFar<T>& so_far() { return so_far_; }

    /// keys (N, D), values (N, Dv) of the chunk, at the places `key_tokens`. Tiles of keys begin where a tile
    /// of queries begins to see.
    void absorb(const StoredRows<const T>& keys, const StoredRows<const T>& values,
                const TokenPositions& key_tokens) {
        const FlushToZero flush_to_zero;
        find_seen(mask_, batch_, tokens_, group_, rows_.first, key_tokens,
                  std::span(seen_).first(std::size_t(rows_.count)));
        Index most = 0;
        for_each_tile<T>(rows_.count, [&](auto, Index first, Index count) {
            most = std::max(most, hull(first, count).count);
        });
        Index copied = -1;
        for (Index done = 0; done < most; done += Tile::keys)
            for_each_tile<T>(rows_.count, [&](auto vectors, Index first, Index count) {
                const IndexRange of_tile = hull(first, count);
                if (done >= of_tile.count) return;
                const Index first_key = of_tile.first + done,
                            num_keys = std::min(Tile::keys, key_tokens.count - first_key);
                if (first_key != copied)
                    take_tile(keys.middle_rows(first_key, num_keys), values.middle_rows(first_key, num_keys));
                copied = first_key;
                absorb_tile<vectors>({first, count}, key_tokens, {first_key, num_keys});
            });
    }

  private:
    /// All keys of the chunk that some rows see lie in there.
    IndexRange hull(Index first, Index count) const {
        return seen_by_some(seen_[std::size_t(first)], seen_[std::size_t(first + count - 1)]);
    }

    /// Keys and values that all queries are to meet next.
    void take_tile(const StoredRows<const T>& keys, const StoredRows<const T>& values) {
        if constexpr (can_pair<T>)
            if (paired_) return pairs_.set_tile(keys.rounded, values.rounded);
        key_ = widened<Workspace::keys>(keys);
        value_ = close_together<T>(widened<Workspace::values>(values));
    }

    /// A tile of queries, rows [queries.first, queries.end()) of the block, and one of the chunk's keys.
    template <int vectors>
    void absorb_tile(const IndexRange& queries, const TokenPositions& key_tokens, const IndexRange& tile) {
        const VisibleKeys<T> visible(std::span<const IndexRange>(seen_).subspan(std::size_t(queries.first),
                                                                                std::size_t(queries.count)),
                                     tile.first, tile.count);
        if (visible.any.count == 0) return;
        const IndexRange keys = visible.scores_of(tile.count);
        const bool all = visible.all == visible.any;
        // Not where a key would have to stay hidden, as the one that makes an odd tile pairs.
        const bool cap_in_softmax =
            scores_of_.capped_alone() && all && !(paired_ && visible.any.end() % 2 != 0);
        const Softmax<T> softmax = so_far_.softmax(queries.first, cap_in_softmax);
        // Where scores are still to become others, their maximum is taken later.
        const bool are_products = scores_of_.plain() || cap_in_softmax;
        bool& settled = settled_[std::size_t(queries.first / lanes)];
        if (settled && are_products && all && !paired_) {
            multiply_keys<vectors>(queries.first, keys, {});
            if (scores_to_weights_if_settled<vectors>(softmax, memory_.scores, keys,
                                                      StoreWeights<T>{memory_.scores}))
                return add_values<vectors>(visible, queries.first);
        }
        std::fill_n(memory_.largest, lanes, -std::numeric_limits<T>::infinity());
        multiply_keys<vectors>(queries.first, keys, are_products ? visible.all : IndexRange{});
        if (cap_in_softmax)
            cap_numbers<T>(memory_.largest, lanes);
        else
            finish_scores(queries, key_tokens, tile.first, visible);
        if constexpr (can_pair<T>)
            if (paired_)
                return pairs_.add_values<vectors>(softmax, memory_.largest, memory_.scores, visible,
                                                  whole_keys(visible), scores_of_.may_hide(),
                                                  so_far_.output(queries.first));
        settled = scores_to_weights<vectors>(softmax, memory_.largest, memory_.scores, visible.any,
                                             StoreWeights<T>{memory_.scores});
        add_values<vectors>(visible, queries.first);
    }

    /// Products become scores, if that is something else, and are masked; the largest of those that were not
    /// final yet is taken.
    void finish_scores(const IndexRange& queries, const TokenPositions& key_tokens, Index first_key,
                       const VisibleKeys<T>& visible) {
        if (scores_of_.plain()) {
            for (const IndexRange& masked : visible.masked())
                if (masked.count > 0) mask_scores<T>(visible, masked, memory_.scores, memory_.largest);
            return;
        }
        const bool all = visible.all == visible.any;
        scores_of_.apply(memory_.scores, lanes, queries.first, queries.count, key_tokens, first_key,
                         visible.any, nullptr, nullptr, all ? memory_.largest : nullptr);
        if (!all) mask_scores<T>(visible, visible.any, memory_.scores, memory_.largest);
    }

    /// Scores of the keys; the largest of those that every query sees.
    template <int vectors>
    void multiply_keys(Index first_query, const IndexRange& keys, const IndexRange& seen) {
        const StoreScores<T> store{memory_.scores + keys.first * lanes, memory_.largest,
                                   seen.first - keys.first, seen.end() - keys.first};
        if constexpr (can_pair<T>)
            if (paired_) return pairs_.multiply_keys<vectors>(first_query, keys, store);
        multiply_panel<vectors>(keys.count, unpacked_strips<T>(key_.middle_rows(keys.first, keys.count)),
                                memory_.query + first_query * key_width_, lanes, whole_depth(key_width_),
                                store);
    }

    /// The keys whose values no query is to leave out.
    IndexRange whole_keys(const VisibleKeys<T>& visible) const {
        return scores_of_.may_hide() ? IndexRange{} : visible.all;
    }

    /// The mean of the values with the weights goes to the output.
    template <int vectors>
    void add_values(const VisibleKeys<T>& visible, Index first_query) {
        T* const output = so_far_.output(first_query);
        // A tile of keys begins where its queries begin to see: the first key is one of any.
        const FiniteRows<T> finite(value_.middle_rows(0, visible.any.end()), whole_keys(visible));
        multiply_panel<vectors>(value_width_, unpacked_strips<T>(finite.rows().transposed()), memory_.scores,
                                lanes, whole_depth(visible.any.end()), DecayAndAdd<T>{output, memory_.decay});
        add_wild_values(
            finite.wild(), visible, scores_of_.may_hide(), value_width_, output,
            [&](Index key, Index lane) { return memory_.scores[key * lanes + lane]; }, value_);
    }

    const Mask& mask_;
    TokenPositions tokens_;
    Index group_, batch_;
    IndexRange rows_;
    Index key_width_, value_width_;
    bool paired_;
    BlockScores<T> scores_of_;
    std::array<IndexRange, std::size_t(max_queries)> seen_;  // by each row, of the chunk that is at work
    BlockSoFar<T> so_far_;
    ForwardMemory<T> memory_;  // of so_far_
    std::array<bool, std::size_t(max_queries / lanes)> settled_{};  // tiles whose maxima may well stay
    MatrixView<const T> key_, value_;                               // these,
    PairedProducts pairs_;                                          // or these
};

}  // namespace ring_attention::inline RING_ATTENTION_ABI::detail
RING_ATTENTION_PRECISE_END
