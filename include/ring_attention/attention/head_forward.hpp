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
    static constexpr Index max_queries = 16 * lanes;

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
          given_scale_(scores_of_.scale()),
          scale_(base2_scale(given_scale_)) {
        take_memory(plan.heads);
        const auto given = query.group_rows(batch_head, group_).middle_rows(rows.first, rows.count);
        for_each_tile<T>(rows.count, [&](auto, Index first, Index count) {
            const Index next = first + count;
            prefetch<T>(given.middle_rows(next, std::min<Index>(lanes, rows.count - next)));
            T* const packed = query_ + first * key_width_;
            pack_lanes<T>(given.middle_rows(first, count), packed, scores_);
            multiply_numbers<T>(packed, lanes * key_width_, scores_of_.query_factor());
            if constexpr (can_pair<T>)
                if (paired_) pairs_.set_queries(first, packed);
        });
        std::fill_n(output_, value_width_ * (ceil_div(rows.count, lanes) * lanes), T(0));
        std::fill_n(maximum_, max_queries, -std::numeric_limits<T>::infinity());
        std::fill_n(sum_, max_queries, T(0));
    }

    /// Before the first chunk: a score more for each query, which has no value. sinks: one a query head of
    /// the plan.
    void absorb_sinks(const T* sinks, Index heads) {
        for (Index i = 0; i < rows_.count; ++i) {
            const Index head = (batch_head_ * group_ + (rows_.first + i) % group_) % heads;
            if (sinks[head] == -std::numeric_limits<T>::infinity()) continue;
            maximum_[i] = T(double(sinks[head]) * std::numbers::log2e);
            sum_[i] = T(1);
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
            log_sum = detail::log_sum_exp(maximum_[i], sum_[i]);
            if (log_sum_exp_rest.data)
                *rests.row(i) = detail::log_sum_exp_rest(log_sum, maximum_[i], sum_[i]);
        }
        for_each_tile<T>(rows_.count, [&](auto, Index first, Index) {
            for (Index lane = first; lane < first + lanes; lane += Simd<T>::width) {
                const Simd<T> sum = Simd<T>::load(sum_ + lane);
                const Simd<T> divisor =
                    select<T>(sum < Simd<T>(std::numeric_limits<T>::min()), Simd<T>(T(1)), sum);
                for (Index i = 0; i < value_width_; ++i) {
                    T* const row = output_ + first * value_width_ + i * lanes + lane - first;
                    (Simd<T>::load(row) / divisor).store(row);
                }
            }
        });
        write_output(output);
    }

    /// What is to be kept while other blocks use the memory: output, maximum (M), sum (M).
    void suspend(const HeadsView<T>& output, T* maximum, T* sum) const {
        write_output(output);
        std::copy_n(maximum_, rows_.count, maximum);
        std::copy_n(sum_, rows_.count, sum);
    }

    void resume(const HeadsView<T>& output, const T* maximum, const T* sum) {
        const GroupRows<const T> so_far = rows_of(HeadsView<const T>(output));
        for_each_tile<T>(rows_.count, [&](auto, Index first, Index count) {
            pack_lanes<T>(so_far.middle_rows(first, count), output_ + first * value_width_, scores_);
        });
        std::copy_n(maximum, rows_.count, maximum_);
        std::copy_n(sum, rows_.count, sum_);
    }

  private:
    void take_memory(const HeadShape& heads) {
        if (paired_) pairs_.take_memory(heads, max_queries);
        // A tile of rows is copied where the scores come later.
        const Index tile = std::max(Tile::keys, std::max(key_width_, value_width_)) * lanes;
        T* next = workspace<T, Workspace::attention>().require((key_width_ + value_width_ + 2) * max_queries +
                                                               tile + 2 * lanes);
        const auto take = [&](Index count) { return std::exchange(next, next + count); };
        query_ = take(key_width_ * max_queries), output_ = take(value_width_ * max_queries);
        maximum_ = take(max_queries), sum_ = take(max_queries);
        scores_ = take(tile), decay_ = take(lanes), new_maximum_ = take(lanes);
    }

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
        cap_in_softmax_ = scores_of_.capped_alone() && all && !(paired_ && visible.any.end() % 2 != 0);
        // Where scores are still to become others, their maximum is taken later.
        const bool simple = scores_of_.plain() || cap_in_softmax_;
        const Softmax<T> softmax{
            scale_, {maximum_ + queries.first, sum_ + queries.first}, decay_, cap_in_softmax_};
        bool& settled = settled_[std::size_t(queries.first / lanes)];
        if (settled && simple && all && !paired_) {
            multiply_keys<vectors>(queries.first, keys, {});
            if (scores_to_weights_if_settled<vectors>(softmax, scores_, keys, StoreWeights<T>{scores_}))
                return add_values<vectors>(visible, queries.first);
        }
        std::fill_n(new_maximum_, lanes, -std::numeric_limits<T>::infinity());
        multiply_keys<vectors>(queries.first, keys, simple ? visible.all : IndexRange{});
        if (cap_in_softmax_) {
            cap_numbers<T>(new_maximum_, lanes);
        } else if (!scores_of_.plain()) {
            scores_of_.apply(scores_, lanes, queries.first, queries.count, key_tokens, tile.first,
                             visible.any, nullptr, nullptr, all ? new_maximum_ : nullptr);
            if (!all) mask_scores<T>(visible, visible.any, scores_, new_maximum_);
        } else {
            for (const IndexRange& masked : visible.masked())
                if (masked.count > 0) mask_scores<T>(visible, masked, scores_, new_maximum_);
        }
        if constexpr (can_pair<T>)
            if (paired_)
                return pairs_.add_values<vectors>(softmax, new_maximum_, scores_, visible,
                                                  whole_keys(visible), scores_of_.may_hide(),
                                                  output_ + queries.first * value_width_);
        settled =
            scores_to_weights<vectors>(softmax, new_maximum_, scores_, visible.any, StoreWeights<T>{scores_});
        add_values<vectors>(visible, queries.first);
    }

    /// Scores of the keys; the largest of those that every query sees.
    template <int vectors>
    void multiply_keys(Index first_query, const IndexRange& keys, const IndexRange& seen) {
        const StoreScores<T> store{scores_ + keys.first * lanes, new_maximum_, seen.first - keys.first,
                                   seen.end() - keys.first};
        if constexpr (can_pair<T>)
            if (paired_) return pairs_.multiply_keys<vectors>(first_query, keys, store);
        multiply_panel<vectors>(keys.count, unpacked_strips<T>(key_.middle_rows(keys.first, keys.count)),
                                query_ + first_query * key_width_, lanes, whole_depth(key_width_), store);
    }

    /// The keys whose values no query is to leave out.
    IndexRange whole_keys(const VisibleKeys<T>& visible) const {
        return scores_of_.may_hide() ? IndexRange{} : visible.all;
    }

    /// The mean of the values with the weights goes to the output.
    template <int vectors>
    void add_values(const VisibleKeys<T>& visible, Index first_query) {
        T* const output = output_ + first_query * value_width_;
        // A tile of keys begins where its queries begin to see: the first key is one of any.
        const FiniteRows<T> finite(value_.middle_rows(0, visible.any.end()), whole_keys(visible));
        multiply_panel<vectors>(value_width_, unpacked_strips<T>(finite.rows().transposed()), scores_, lanes,
                                whole_depth(visible.any.end()), DecayAndAdd<T>{output, decay_});
        add_wild_values(
            finite.wild(), visible, scores_of_.may_hide(), value_width_, output,
            [&](Index key, Index lane) { return scores_[key * lanes + lane]; }, value_);
    }

    void write_output(const HeadsView<T>& heads) const {
        const GroupRows<T> output = rows_of(heads);
        for_each_tile<T>(rows_.count, [&](auto, Index first, Index count) {
            unpack_lanes<T>(output_ + first * value_width_, output.middle_rows(first, count), scores_);
        });
    }

    const Mask& mask_;
    TokenPositions tokens_;
    Index group_, batch_, batch_head_;
    IndexRange rows_;
    Index key_width_, value_width_;
    bool paired_;
    BlockScores<T> scores_of_;
    T given_scale_, scale_;                                  // of the scores; times log2(e)
    std::array<IndexRange, std::size_t(max_queries)> seen_;  // by each row, of the chunk that is at work
    // A tile behind the other: (D, lanes), (Dv, lanes), (lanes) and (lanes) each.
    T *query_, *output_, *maximum_, *sum_;
    // Of the tile that is at work: (keys, lanes), (lanes), (lanes).
    T *scores_, *decay_, *new_maximum_;
    bool cap_in_softmax_;
    std::array<bool, std::size_t(max_queries / lanes)>
        settled_{};                    // whether the maxima of a tile may well stay
    MatrixView<const T> key_, value_;  // these,
    PairedProducts pairs_;             // or these
};

}  // namespace ring_attention::inline RING_ATTENTION_ABI::detail
RING_ATTENTION_PRECISE_END
