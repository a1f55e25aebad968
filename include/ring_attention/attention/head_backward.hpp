#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <limits>
#include <numbers>
#include <span>

#include <ring_attention/attention/backward_tile.hpp>
#include <ring_attention/attention/gradient_views.hpp>
#include <ring_attention/attention/log_sum_exp.hpp>
#include <ring_attention/attention/paired_products.hpp>
#include <ring_attention/attention/scores.hpp>
#include <ring_attention/attention/tile.hpp>
#include <ring_attention/core/floating_point_modes.hpp>
#include <ring_attention/kernels/weighted_rows.hpp>

RING_ATTENTION_PRECISE_BEGIN
namespace ring_attention::inline RING_ATTENTION_ABI::detail {

// Backward of the attention of one head (Dao et al. 2022, 2205.14135, algorithm 4): nothing but the
// log-sum-exp is remembered of the scores S = scale query key^T; they are computed again. As in forward a
// query is a lane, so P and dS lie transposed.
//   P^T = exp(S^T - log_sum_exp)               (N,D) x (D,M) => (N,M)
//   dP^T = value d_output^T                    (N,D) x (D,M) => (N,M)
//   dS^T = P^T (dP^T - rowsum(d_output output)) scale
//   d_value += P^T d_output                    (N,M) x (M,D) => (N,D)
//   d_key   += dS^T query                      (N,M) x (M,D) => (N,D)
//   d_query += dS key                          (M,N) x (N,D) => (M,D)

/// M queries, which meet a tile of N keys at a time. The memory is the thread's.
template <Real T>
class BackwardQueries {
    using Tile = AttentionTile<T>;
    using Memory = BackwardMemory<T>;
    static constexpr Index lanes = Tile::lanes, max_queries = Memory::max_queries;

  public:
    /// rows: which of the head's tokens. seen: which keys of the chunk each sees; masked: not all see all.
    BackwardQueries(const QueryHead<T>& head, const IndexRange& rows, const QueryGradient<T>& queries,
                    std::span<const IndexRange> seen, bool masked)
        : queries_(queries),
          seen_(seen),
          scores_of_(head.plan, head.terms, head.seat, head.head, 1, head.tokens, rows),
          d_bias_(head.d_bias),
          scale_(T(head.plan.score.scale)),
          masked_(masked || scores_of_.may_hide()),
          memory_(head.plan.heads, scores_of_.capped() && !scores_of_.capped_alone(),
                  scores_of_.has_function()),
          query_rows_(queries.query, masked_, memory_.query_rows),
          d_output_rows_(queries.d_output, masked_, memory_.d_output_rows) {
        for_each_tile<T>(num_queries(), [&](auto, Index first, Index count) {
            T* const packed = memory_.query + first * queries.query.cols;
            pack_lanes<T>(queries.query.middle_rows(first, count), packed);
            multiply_numbers<T>(packed, lanes * queries.query.cols, scores_of_.query_factor());
            if constexpr (can_pair<T>)  // as forward did, for the same weights
                if (rounds_queries<T>(head.plan)) round_in_place(packed, lanes * queries.query.cols);
            pack_lanes<T>(queries.d_output.middle_rows(first, count),
                          memory_.d_output + first * queries.d_output.cols);
        });
        constexpr T infinity = std::numeric_limits<T>::infinity();
        for (Index i = 0; i < max_queries; ++i) {
            // A query that saw nothing has the weights exp(-infinity), as have lanes without a query.
            const T given = i < num_queries() ? queries.log_sum_exp[i] : -infinity,
                    scale = scores_of_.scale();
            const bool base2 = queries.log_sum_exp_rest && has_rest(given);
            memory_.scale[i] = base2 ? base2_scale(scale) : scale;
            memory_.shift[i] = base2 ? base2_log_sum_exp(given) : given == -infinity ? infinity : given;
            memory_.unit[i] = base2 ? T(1) : std::numbers::log2e_v<T>;
            memory_.rest[i] = base2 ? queries.log_sum_exp_rest[i] : T(0);
            memory_.dot[i] = i < num_queries() ? queries.d_output_dot_output[i] : T(0);
        }
    }

    /// A tile of the chunk's keys, at most AttentionTile::keys of them.
    void absorb(const KeyValueGradient<T>& chunk, const IndexRange& keys) {
        const Index first_key = std::max(keys.first, seen_.front().first),
                    count = std::min(keys.end(), seen_.back().end()) - first_key;
        if (count <= 0) return;
        const KeyValueGradient<T> stored = chunk.middle_rows(first_key, count);
        const KeyValueTile<T> tile{widened<Workspace::keys>(stored.key),
                                   widened<Workspace::values>(stored.value), stored.tokens, stored.d_key,
                                   stored.d_value};
        for_each_tile<T>(num_queries(), [&](auto vectors, Index first, Index lanes_used) {
            make_weights<vectors>(tile, first_key, {first, lanes_used});
        });
        add_gradients(tile, first_key);
    }

  private:
    Index num_queries() const { return queries_.query.rows; }

    /// The tile begins with key `tile_key` of the chunk.
    void add_gradients(const KeyValueTile<T>& tile, Index tile_key) {
        const Index keys = tile.key.rows;
        const auto of = [&](Index query) {
            const IndexRange& seen = seen_[std::size_t(query)];
            const Index begin = std::clamp<Index>(seen.first - tile_key, 0, keys);
            return IndexRange{begin, std::clamp<Index>(seen.end() - tile_key, begin, keys) - begin};
        };
        // What holds for a query holds for those behind it.
        const auto first_where = [&](auto&& holds) {
            Index begin = 0, end = num_queries();
            while (begin < end) {
                const Index middle = (begin + end) / 2;
                holds(middle) ? end = middle : begin = middle + 1;
            }
            return begin;
        };
        const bool all_see_all = of(0).end() == keys && of(num_queries() - 1).first == 0;
        // A strip of keys is seen by neighbours among the queries, and a strip of queries sees neighbours.
        const auto see_key = [&](Index first_key, Index last_key) {
            if (all_see_all) return IndexRange{0, num_queries()};
            const Index begin = first_where([&](Index query) { return of(query).end() > first_key; }),
                        end = first_where([&](Index query) { return of(query).first > last_key; });
            return IndexRange{begin, std::max<Index>(0, end - begin)};
        };
        const auto see_keys = [&](Index first_query, Index last_query) {
            if (all_see_all) return IndexRange{0, keys};
            const Index begin = of(first_query).first;
            return IndexRange{begin, std::max<Index>(0, of(last_query).end() - begin)};
        };
        const auto sees = [&](Index query, Index key) {
            return key >= of(query).first && key < of(query).end() &&
                   (!scores_of_.may_hide() || memory_.weights[key * max_queries + query] != T(0));
        };
        const auto seen_by = [&](Index key, Index query) { return sees(query, key); };
        const auto scores = [&](T* numbers) {
            return MatrixView<const T>{numbers, keys, num_queries(), max_queries, 1};
        };
        add_weighted_rows<T>(scores(memory_.weights), d_output_rows_, tile.d_value, see_key, seen_by);
        add_weighted_rows<T>(scores(memory_.d_scores), query_rows_, tile.d_key, see_key, seen_by);
        add_weighted_rows<T>(
            scores(memory_.d_scores).transposed(),
            WeightedRows<T>(tile.key, !all_see_all || scores_of_.may_hide(), memory_.key_rows),
            queries_.d_query, see_keys, sees);
    }

    /// P^T and dS^T of a tile of queries; 0 for the keys that they do not see.
    template <int vectors>
    void make_weights(const KeyValueTile<T>& tile, Index tile_key, const IndexRange& rows) {
        const Index first = rows.first;
        const VisibleKeys<T> visible(seen_.subspan(std::size_t(first), std::size_t(rows.count)), tile_key,
                                     tile.key.rows);
        const IndexRange any = visible.any;
        const auto product = [&](MatrixView<const T> factor, const T* lanes_of, T* to) {
            multiply_panel<vectors>(
                any.count, unpacked_strips<T>(factor.middle_rows(any.first, any.count)),
                lanes_of + first * factor.cols, lanes, whole_depth(factor.cols),
                StoreTile<T>{{to + any.first * max_queries + first, any.count, lanes, max_queries, 1},
                             false});
        };
        product(tile.key, memory_.query, memory_.weights);
        product(tile.value, memory_.d_output, memory_.d_scores);
        const auto of_tile = [&](T* numbers) { return numbers ? numbers + first : nullptr; };
        const bool capped_alone = scores_of_.capped_alone(),
                   go_back = scores_of_.may_hide() || memory_.cap != nullptr;
        if (!scores_of_.plain() && !capped_alone)
            scores_of_.apply(memory_.weights + first, max_queries, first, rows.count, tile.tokens, 0, any,
                             of_tile(memory_.cap), of_tile(memory_.function));
        const auto see = [](auto, Index, Simd<T> x) { return x; };
        const auto masked = [&](auto lane, Index key, Simd<T> x) {
            return visible.where_seen(lane, key, x, Simd<T>(T(0)));
        };
        const Index whole_from = visible.all.count > 0 ? visible.all.first : any.end(),
                    whole_to = std::max(whole_from, visible.all.end());
        visit_cap<vectors>(
            capped_alone, memory_.weights + any.first * max_queries + first, any.count, max_queries,
            [&](const auto& cap) {
                const T scale = go_back ? T(1) : scale_;
                softmax_backward<vectors, T>(memory_, scale, first, any.first, whole_from, masked, cap);
                softmax_backward<vectors, T>(memory_, scale, first, whole_from, whole_to, see, cap);
                softmax_backward<vectors, T>(memory_, scale, first, whole_to, any.end(), masked, cap);
            });
        if (go_back) through_scores(tile.tokens, rows, any);
        hide_keys<T>(memory_, first, 0, any.first);
        hide_keys<T>(memory_, first, any.end(), tile.key.rows);
    }

    /// dS^T of what the softmax saw becomes that of the products, the other way through what was done to the
    /// scores. A key that is hidden has no gradient, whatever the derivatives there.
    void through_scores(const TokenPositions& key_tokens, const IndexRange& rows, const IndexRange& keys) {
        const auto for_each = [&](auto&& f) {
            for (Index key = keys.first; key < keys.end(); ++key)
                for (Index lane = rows.first; lane < rows.end(); lane += Simd<T>::width) {
                    const Index at = key * max_queries + lane;
                    const Simd<T> weight = Simd<T>::load(memory_.weights + at);
                    const Simd<T> d_score = f(at, Simd<T>::load(memory_.d_scores + at));
                    select<T>(weight > Simd<T>(T(0)), d_score, weight).store(memory_.d_scores + at);
                }
        };
        if (memory_.function || d_bias_.data)
            for_each([&](Index at, Simd<T> d_score) {
                return memory_.function ? d_score * Simd<T>::load(memory_.function + at) : d_score;
            });
        if (d_bias_.data)
            scores_of_.add_to_bias(memory_.d_scores + rows.first, max_queries, rows.first, rows.count,
                                   key_tokens, 0, keys, d_bias_);
        const Simd<T> scale(scale_);
        for_each([&](Index at, Simd<T> d_score) {
            return (memory_.cap ? d_score * Simd<T>::load(memory_.cap + at) : d_score) * scale;
        });
    }

    QueryGradient<T> queries_;
    std::span<const IndexRange> seen_;
    BlockScores<T> scores_of_;
    HeadsView<T> d_bias_;
    T scale_;
    bool masked_;
    Memory memory_;
    WeightedRows<T> query_rows_, d_output_rows_;
};

/// What is done at a time in backward: so many queries with so many keys at most.
template <Real T>
struct BackwardBlock {
    static constexpr Index queries = 4 * AttentionTile<T>::lanes;
    static constexpr Index keys = 4 * AttentionTile<T>::keys;

    /// Of keys as many as stay, with their values and the gradients of both, in the second cache: processors
    /// with registers of 64 bytes have at least 1 MiB of it. So queries are packed less often.
    static Index most_keys(const HeadShape& shape) {
        constexpr Index cache = simd_bytes == 64 ? Index(7) << 17 : Index(7) << 16;
        const Index bytes_of_key = 2 * (shape.key_width + shape.value_width) * Index(sizeof(T)),
                    tile = AttentionTile<T>::keys;
        return std::max(keys, cache / bytes_of_key / tile * tile);
    }
};

/// Adds to the gradients of both what a block of queries, tokens `rows` of a head, and a block of keys and
/// values owe each other.
template <Real T>
void absorb_block_backward(const QueryHead<T>& head, const IndexRange& rows, const QueryGradient<T>& queries,
                           const KeyValueGradient<T>& chunk) {
    std::array<IndexRange, std::size_t(BackwardBlock<T>::queries)> memory;
    const auto seen = std::span(memory).first(std::size_t(rows.count));
    find_seen(head.plan.mask, head.head / head.plan.heads.heads, head.tokens, 1, rows.first, chunk.tokens,
              seen);
    const IndexRange first = seen.front(), last = seen.back();
    if (last.end() <= first.first) return;
    const bool masked = last.first > 0 || first.end() < chunk.tokens.count;
    const FlushToZero flush_to_zero;
    BackwardQueries<T> work(head, rows, queries, seen, masked);
    constexpr Index tile = AttentionTile<T>::keys;
    for (Index key = first.first / tile * tile; key < last.end(); key += tile)
        work.absorb(chunk, {key, std::min(tile, chunk.tokens.count - key)});
}

}  // namespace ring_attention::inline RING_ATTENTION_ABI::detail
RING_ATTENTION_PRECISE_END
