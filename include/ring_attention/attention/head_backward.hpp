#pragma once

#include <algorithm>
#include <cstddef>
#include <limits>
#include <numbers>
#include <type_traits>
#include <utility>

#include <ring_attention/attention/tile.hpp>
#include <ring_attention/kernels/vector_math.hpp>
#include <ring_attention/kernels/weighted_rows.hpp>

RING_ATTENTION_PRECISE_BEGIN
namespace ring_attention::inline RING_ATTENTION_ABI {

// Backward of the attention of one head (Dao et al. 2022, 2205.14135, algorithm 4): nothing but the
// log-sum-exp is remembered of the scores S = scale query key^T; they are computed again. As in forward a
// query is a lane, so P and dS lie transposed.
//   P^T = exp(S^T - log_sum_exp)               (N,D) x (D,M) => (N,M)
//   dP^T = value d_output^T                    (N,D) x (D,M) => (N,M)
//   dS^T = P^T (dP^T - rowsum(d_output output)) scale
//   d_value += P^T d_output                    (N,M) x (M,D) => (N,D)
//   d_key   += dS^T query                      (N,M) x (M,D) => (N,D)
//   d_query += dS key                          (M,N) x (N,D) => (M,D)

/// Queries of one head and what backward knows of them; M of them.
template <class T>
struct QueryGradient {
    MatrixView<const T> query;     // (M, D)
    MatrixView<const T> d_output;  // (M, D)
    const T* log_sum_exp;          // (M)
    const T* log_sum_exp_rest;     // (M) or none
    const T* d_output_dot_output;  // (M) rowsum(d_output output)
    TokenPositions tokens;
    MatrixView<T> d_query;  // (M, D) added to

    QueryGradient middle_rows(Index first, Index count) const {
        return {query.middle_rows(first, count),
                d_output.middle_rows(first, count),
                log_sum_exp + first,
                log_sum_exp_rest ? log_sum_exp_rest + first : nullptr,
                d_output_dot_output + first,
                tokens.middle(first, count),
                d_query.middle_rows(first, count)};
    }
};

/// Keys and values of one head; N of them.
template <class T>
struct KeyValueGradient {
    MatrixView<const T> key, value;  // (N, D)
    TokenPositions tokens;
    MatrixView<T> d_key, d_value;  // (N, D) added to

    KeyValueGradient middle_rows(Index first, Index count) const {
        return {key.middle_rows(first, count), value.middle_rows(first, count), tokens.middle(first, count),
                d_key.middle_rows(first, count), d_value.middle_rows(first, count)};
    }
};

namespace detail {

/// M queries, which meet a tile of N keys at a time. The memory is the thread's.
template <Real T>
class BackwardQueries {
    using Tile = AttentionTile<T>;
    static constexpr Index lanes = Tile::lanes, max_queries = 4 * lanes;

    struct Memory {
        T *query, *d_output;                       // a tile behind the other: (D, lanes) each
        T* dot;                                    // (M)
        T *scale, *shift, *unit, *rest;            // (M) P = 2^((score scale - shift) unit - rest)
        T *weights, *d_scores;                     // (N, max_queries)
        T *query_rows, *d_output_rows, *key_rows;  // packed, if need be

        explicit Memory(Index head_dim) {
            const Index tile = head_dim * max_queries, scores = Tile::keys * max_queries,
                        rows = packed_size<T>(max_queries, head_dim),
                        keys = packed_size<T>(Tile::keys, head_dim);
            T* next = workspace<T, Workspace::attention>().require(2 * (tile + scores + rows) +
                                                                   5 * max_queries + keys);
            const auto take = [&](Index count) { return std::exchange(next, next + count); };
            query = take(tile), d_output = take(tile);
            dot = take(max_queries);
            scale = take(max_queries), shift = take(max_queries);
            unit = take(max_queries), rest = take(max_queries);
            weights = take(scores), d_scores = take(scores);
            query_rows = take(rows), d_output_rows = take(rows), key_rows = take(keys);
        }
    };

  public:
    /// masked: some query does not see all of the keys that will come.
    BackwardQueries(const QueryGradient<T>& queries, const Mask& mask, bool masked, T scale)
        : queries_(queries),
          mask_(mask),
          scale_(scale),
          memory_(queries.query.cols),
          query_rows_(queries.query, masked, memory_.query_rows),
          d_output_rows_(queries.d_output, masked, memory_.d_output_rows) {
        for_each_tile<T>(num_queries(), [&](auto, Index first, Index count) {
            pack_lanes<T>(queries.query.middle_rows(first, count), memory_.query + first * head_dim());
            pack_lanes<T>(queries.d_output.middle_rows(first, count), memory_.d_output + first * head_dim());
        });
        constexpr T infinity = std::numeric_limits<T>::infinity();
        for (Index i = 0; i < max_queries; ++i) {
            // A query that saw nothing has the weights exp(-infinity), as have lanes without a query.
            const T given = i < num_queries() ? queries.log_sum_exp[i] : -infinity;
            const bool base2 = queries.log_sum_exp_rest && has_rest(given);
            memory_.scale[i] = base2 ? base2_scale(scale) : scale;
            memory_.shift[i] = base2 ? base2_log_sum_exp(given) : given == -infinity ? infinity : given;
            memory_.unit[i] = base2 ? T(1) : std::numbers::log2e_v<T>;
            memory_.rest[i] = base2 ? queries.log_sum_exp_rest[i] : T(0);
            memory_.dot[i] = i < num_queries() ? queries.d_output_dot_output[i] : T(0);
        }
    }

    /// tile: at most AttentionTile::keys keys.
    void absorb(const KeyValueGradient<T>& all_keys) {
        const auto count_seen = [&](Index query) {
            return mask_.visible(queries_.tokens.position(query), all_keys.tokens);
        };
        const Index any = count_seen(num_queries() - 1);
        if (any == 0) return;
        const KeyValueGradient<T> tile = all_keys.middle_rows(0, any);
        for_each_tile<T>(num_queries(), [&](auto vectors, Index first, Index count) {
            make_weights<vectors>(tile, first, count);
        });

        // A strip of keys is seen by the last of the queries, a strip of queries sees the first of the keys.
        const auto see_key = [&](Index first_key, Index) {
            Index query = 0;
            while (query < num_queries() && count_seen(query) <= first_key) ++query;
            return IndexRange{query, num_queries() - query};
        };
        const auto seen_by = [&](Index key, Index query) { return key < count_seen(query); };
        const auto see_keys = [&](Index, Index last_query) { return IndexRange{0, count_seen(last_query)}; };
        const auto sees = [&](Index query, Index key) { return key < count_seen(query); };
        const auto scores = [&](T* numbers) {
            return MatrixView<const T>{numbers, any, num_queries(), max_queries, 1};
        };
        add_weighted_rows<T>(scores(memory_.weights), d_output_rows_, tile.d_value, see_key, seen_by);
        add_weighted_rows<T>(scores(memory_.d_scores), query_rows_, tile.d_key, see_key, seen_by);
        add_weighted_rows<T>(scores(memory_.d_scores).transposed(),
                             WeightedRows<T>(tile.key, count_seen(0) < any, memory_.key_rows),
                             queries_.d_query, see_keys, sees);
    }

  private:
    Index num_queries() const { return queries_.tokens.count; }
    Index head_dim() const { return queries_.query.cols; }

    /// P^T and dS^T of a tile of queries; 0 for the keys that they do not see.
    template <int vectors>
    void make_weights(const KeyValueGradient<T>& tile, Index first, Index count) {
        const VisibleKeys<T> visible(mask_, queries_.tokens.middle(first, count), tile.tokens, 0,
                                     tile.key.rows);
        const auto product = [&](MatrixView<const T> rows, const T* lanes_of, T* to) {
            multiply_panel<vectors>(visible.any, unpacked_strips<T>(rows), lanes_of + first * head_dim(),
                                    lanes, whole_depth(head_dim()),
                                    StoreTile<T>{{to + first, visible.any, lanes, max_queries, 1}, false});
        };
        product(tile.key, memory_.query, memory_.weights);
        product(tile.value, memory_.d_output, memory_.d_scores);
        softmax_backward<vectors>(first, 0, visible.all, [](auto, Index, Simd<T> x) { return x; });
        softmax_backward<vectors>(first, visible.all, visible.any, [&](auto lane, Index key, Simd<T> x) {
            return select<T>(Simd<T>::load(visible.count.data() + lane) > Simd<T>(T(key)), x, Simd<T>(T(0)));
        });
        for (Index key = visible.any; key < tile.key.rows; ++key)
            for (T* const numbers : {memory_.weights, memory_.d_scores})
                std::fill_n(numbers + key * max_queries + first, lanes, T(0));
    }

    /// Keys [key, end): S^T becomes P^T and dP^T becomes dS^T; masked(lane, key, x) is x, or 0.
    template <int vectors>
    void softmax_backward(Index first, Index key, Index end, auto&& masked) {
        Simd<T> own_scale[std::size_t(vectors)], minus_shift[std::size_t(vectors)],
            unit[std::size_t(vectors)], minus_rest[std::size_t(vectors)], dot[std::size_t(vectors)];
        unrolled<vectors>([&](auto v) {
            const Index at = first + v * Simd<T>::width;
            own_scale[v] = Simd<T>::load(memory_.scale + at), unit[v] = Simd<T>::load(memory_.unit + at);
            minus_shift[v] = -Simd<T>::load(memory_.shift + at);
            minus_rest[v] = -Simd<T>::load(memory_.rest + at);
            dot[v] = Simd<T>::load(memory_.dot + at);
        });
        const Simd<T> scale(scale_);
        for (; key < end; ++key)
            unrolled<vectors>([&](auto v) {
                constexpr int lane = v * Simd<T>::width;
                T* const weight = memory_.weights + key * max_queries + first + lane;
                T* const d_score = memory_.d_scores + key * max_queries + first + lane;
                const Simd<T> x = fma(Simd<T>::load(weight), own_scale[v], minus_shift[v]);
                const Simd<T> p = exp2_weight(fma(x, unit[v], minus_rest[v]));
                masked(std::integral_constant<int, lane>{}, key, p).store(weight);
                masked(std::integral_constant<int, lane>{}, key,
                       p * (Simd<T>::load(d_score) - dot[v]) * scale)
                    .store(d_score);
            });
    }

    QueryGradient<T> queries_;
    Mask mask_;
    T scale_;
    Memory memory_;
    WeightedRows<T> query_rows_, d_output_rows_;
};

}  // namespace detail

/// What is done at a time in backward: so many queries with so many keys at most.
template <Real T>
struct BackwardBlock {
    static constexpr Index queries = 4 * detail::AttentionTile<T>::lanes;
    static constexpr Index keys = 4 * detail::AttentionTile<T>::keys;
};

/// Adds to the gradients of both what a block of queries and a block of keys and values owe each other.
template <Real T>
void absorb_block_backward(const QueryGradient<T>& queries, const KeyValueGradient<T>& chunk,
                           const Mask& mask, T scale) {
    const auto seen = [&](Index query) { return mask.visible(queries.tokens.position(query), chunk.tokens); };
    if (seen(queries.tokens.count - 1) == 0) return;
    detail::BackwardQueries<T> work(queries, mask, seen(0) < chunk.tokens.count, scale);
    constexpr Index tile = detail::AttentionTile<T>::keys;
    for (Index first = 0; first < chunk.key.rows; first += tile)
        work.absorb(chunk.middle_rows(first, std::min(tile, chunk.key.rows - first)));
}

}  // namespace ring_attention::inline RING_ATTENTION_ABI
RING_ATTENTION_PRECISE_END
