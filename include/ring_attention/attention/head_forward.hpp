#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <limits>
#include <numbers>
#include <span>
#include <utility>

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

/// Up to `max_queries` queries of a group of heads that absorb one chunk of keys and values after the other.
/// The memory is the thread's: one block at a time on a thread.
template <Real T>
class QueryBlock {
    using Tile = AttentionTile<T>;
    static constexpr int lanes = Tile::lanes;

  public:
    static constexpr Index max_queries = ForwardMemory<T>::max_queries;

    /// The rows of key-value head number `batch_head` at a seat: `tokens` are the tokens there, `rows` which
    /// of their rows (GroupRows). query: (tokens, heads, D).
    QueryBlock(const AttentionPlan& plan, const ScoreTerms<T>& terms, Index seat, Index batch_head,
               const HeadsView<const T>& query, const TokenPositions& tokens, const IndexRange& rows)
        : mask_(plan.mask),
          tokens_(tokens),
          group_(plan.heads.group()),
          batch_(batch_head / plan.heads.key_value_heads),
          batch_head_(batch_head),
          rows_(rows),
          key_width_(plan.heads.key_width),
          value_width_(plan.heads.value_width),
          paired_(rounds_queries<T>(plan)),
          scores_of_(plan, terms, seat, batch_head, group_, tokens, rows),
          scale_(base2_scale(scores_of_.scale())),
          memory_(plan.heads) {
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
        std::fill_n(memory_.output, value_width_ * (ceil_div(rows.count, lanes) * lanes), T(0));
        std::fill_n(memory_.maximum, max_queries, -std::numeric_limits<T>::infinity());
        std::fill_n(memory_.sum, max_queries, T(0));
    }

    /// Before the first chunk: a score more for each query, which has no value. sinks: one a query head of
    /// the plan.
    void absorb_sinks(const T* sinks, Index heads) {
        for (Index i = 0; i < rows_.count; ++i) {
            const Index head = (batch_head_ * group_ + (rows_.first + i) % group_) % heads;
            if (sinks[head] == -std::numeric_limits<T>::infinity()) continue;
            // As a score, which may be so large that its product with the scale is not.
            const double sink = double(sinks[head]) * std::numbers::log2e,
                         most = double(std::numeric_limits<T>::max());
            memory_.maximum[i] = T(std::clamp(sink / double(scale_), -most, most));
            const Base2Score<T> score = base2_maximum(i);
            memory_.sum[i] =
                T(std::exp2(sink - double(score.rounded.lanes[0]) - double(score.rest.lanes[0])));
        }
    }

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

    /// After the last chunk: output is the mean of the values, log_sum_exp that of the scores. A query that
    /// has seen nothing gets output 0 and -infinity. log_sum_exp_rest, if wanted, is what backward needs
    /// beside it.
    void finish(const HeadsView<T>& output, const HeadsView<T>& log_sum_exp,
                const HeadsView<T>& log_sum_exp_rest = {}) {
        const auto log_sums = rows_of(log_sum_exp), rests = rows_of(log_sum_exp_rest);
        for (Index i = 0; i < rows_.count; ++i) {
            T& log_sum = *log_sums.row(i);
            const Base2Score<T> score = base2_maximum(i);
            const T maximum = score.rounded.lanes[0], rest = score.rest.lanes[0];
            log_sum = detail::log_sum_exp(maximum, memory_.sum[i], rest);
            if (log_sum_exp_rest.data)
                *rests.row(i) = detail::log_sum_exp_rest(log_sum, maximum, memory_.sum[i], rest);
        }
        for_each_tile<T>(rows_.count, [&](auto, Index first, Index) {
            divide_by_sums(memory_.output + first * value_width_, value_width_, memory_.sum + first);
        });
        write_output(output);
    }

    /// What is to be kept while other blocks use the memory: output, maximum (M), sum (M).
    void suspend(const HeadsView<T>& output, T* maximum, T* sum) const {
        write_output(output);
        std::copy_n(memory_.maximum, rows_.count, maximum);
        std::copy_n(memory_.sum, rows_.count, sum);
    }

    void resume(const HeadsView<T>& output, const T* maximum, const T* sum) {
        const GroupRows<const T> so_far = rows_of(HeadsView<const T>(output));
        for_each_tile<T>(rows_.count, [&](auto, Index first, Index count) {
            pack_lanes<T>(so_far.middle_rows(first, count), memory_.output + first * value_width_,
                          memory_.scores);
        });
        std::copy_n(maximum, rows_.count, memory_.maximum);
        std::copy_n(sum, rows_.count, memory_.sum);
    }

  private:
    /// Of a query.
    Base2Score<T> base2_maximum(Index row) const { return {Simd<T>(memory_.maximum[row]), Simd<T>(scale_)}; }

    /// Of what belongs to the queries.
    template <class Number>
    GroupRows<Number> rows_of(const HeadsView<Number>& heads) const {
        if (!heads.data) return {};
        return heads.group_rows(batch_head_, group_).middle_rows(rows_.first, rows_.count);
    }

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
        const Softmax<T> softmax{scale_,
                                 {memory_.maximum + queries.first, memory_.sum + queries.first},
                                 memory_.decay,
                                 cap_in_softmax};
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
                                                  memory_.output + queries.first * value_width_);
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
        T* const output = memory_.output + first_query * value_width_;
        // A tile of keys begins where its queries begin to see: the first key is one of any.
        const FiniteRows<T> finite(value_.middle_rows(0, visible.any.end()), whole_keys(visible));
        multiply_panel<vectors>(value_width_, unpacked_strips<T>(finite.rows().transposed()), memory_.scores,
                                lanes, whole_depth(visible.any.end()), DecayAndAdd<T>{output, memory_.decay});
        add_wild_values(
            finite.wild(), visible, scores_of_.may_hide(), value_width_, output,
            [&](Index key, Index lane) { return memory_.scores[key * lanes + lane]; }, value_);
    }

    void write_output(const HeadsView<T>& heads) const {
        const GroupRows<T> output = rows_of(heads);
        for_each_tile<T>(rows_.count, [&](auto, Index first, Index count) {
            unpack_lanes<T>(memory_.output + first * value_width_, output.middle_rows(first, count),
                            memory_.scores);
        });
    }

    const Mask& mask_;
    TokenPositions tokens_;
    Index group_, batch_, batch_head_;
    IndexRange rows_;
    Index key_width_, value_width_;
    bool paired_;
    BlockScores<T> scores_of_;
    T scale_;                                                // of the scores, to base 2
    std::array<IndexRange, std::size_t(max_queries)> seen_;  // by each row, of the chunk that is at work
    ForwardMemory<T> memory_;
    std::array<bool, std::size_t(max_queries / lanes)> settled_{};  // tiles whose maxima may well stay
    MatrixView<const T> key_, value_;                               // these,
    PairedProducts pairs_;                                          // or these
};

}  // namespace ring_attention::inline RING_ATTENTION_ABI::detail
RING_ATTENTION_PRECISE_END
