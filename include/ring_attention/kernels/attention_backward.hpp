#pragma once

#include <ring_attention/kernels/attention_forward.hpp>

namespace ring_attention {

// Backward of the attention of one head (Dao et al. 2022, 2205.14135, algorithm 4): nothing but the
// log-sum-exp is remembered of the scores S = scale query key^T; they are computed again.
//   P = exp(S - log_sum_exp)            (M,D) x (N,D) => (M,N)
//   d_value += P^T d_output             (M,N) x (M,D) => (N,D)
//   dP = d_output value^T               (M,D) x (N,D) => (M,N)
//   dS = P (dP - rowsum(d_output output)) scale
//   d_query += dS key                   (M,N) x (N,D) => (M,D)
//   d_key   += dS^T query               (M,N) x (M,D) => (N,D)

/// Queries of one head at a seat and what backward knows of them; M of them.
template <class T>
struct QueryGradient {
    MatrixView<const T> query;     // (M, D)
    MatrixView<const T> d_output;  // (M, D)
    const T* log_sum_exp;          // (M)
    const T* d_output_dot_output;  // (M) rowsum(d_output output)
    TokenRun tokens;
    MatrixView<T> d_query;  // (M, D) added to

    QueryGradient middle_rows(Index first, Index count) const {
        return {query.middle_rows(first, count),
                d_output.middle_rows(first, count),
                log_sum_exp + first,
                d_output_dot_output + first,
                {tokens.first + first, count},
                d_query.middle_rows(first, count)};
    }
};

/// Keys and values of one head at a seat; N of them.
template <class T>
struct KeyValueGradient {
    MatrixView<const T> key, value;  // (N, D)
    TokenRun tokens;
    MatrixView<T> d_key, d_value;  // (N, D) added to
};

namespace detail {

/// scores (M,N) becomes P, d_scores (M,N), dP on entry, becomes dS; both exactly 0 where a key is not seen.
template <class T>
void softmax_backward(MatrixView<T> scores, MatrixView<T> d_scores, T scale, const VisibleKeys& visible,
                      const QueryGradient<T>& queries) {
    for (Index i = 0; i < scores.rows; ++i) {
        T* weight = &scores(i, 0);
        T* d_score = &d_scores(i, 0);
        const bool saw_nothing = queries.log_sum_exp[i] == -std::numeric_limits<T>::infinity();
        const Index seen = saw_nothing ? 0 : visible.of(i);
        for (Index j = 0; j < seen; ++j) weight[j] *= scale;
        exp_shifted(weight, queries.log_sum_exp[i], weight, seen);
        for (Index j = 0; j < seen; ++j)
            d_score[j] = weight[j] * (d_score[j] - queries.d_output_dot_output[i]) * scale;
        std::fill(weight + seen, weight + scores.cols, T(0));
        std::fill(d_score + seen, d_score + scores.cols, T(0));
    }
}

/// One tile of queries with one tile of keys, keys [first, first + count) of the chunk.
template <class T>
void backward_tile(const QueryGradient<T>& queries, const KeyValueGradient<T>& chunk, Index first,
                   Index count, const Mask& mask, T scale) {
    const VisibleKeys visible(mask, queries.tokens, chunk.tokens, first, count);
    if (!visible.any) return;
    static thread_local Matrix<T> score_scratch(query_tile, key_tile), d_score_scratch(query_tile, key_tile);
    const auto tile_of = [&](Matrix<T>& scratch) {
        return view(scratch).middle_rows(0, queries.query.rows).middle_cols(0, count);
    };
    const MatrixView<T> scores = tile_of(score_scratch), d_scores = tile_of(d_score_scratch);
    const MatrixView<const T> key = chunk.key.middle_rows(first, count),
                              value = chunk.value.middle_rows(first, count);

    multiply<T>(queries.query, key.transposed(), scores);
    multiply<T>(queries.d_output, value.transposed(), d_scores);
    softmax_backward(scores, d_scores, scale, visible, queries);

    const auto seen_by = [&](Index key_row, Index query_row) { return visible(query_row, key_row); };
    const auto add_product = [&](MatrixView<const T> weights, MatrixView<const T> rows, MatrixView<T> sums,
                                 auto& seen) {
        if (visible.partial)
            add_weighted_rows<T>(weights, rows, sums, seen);
        else
            multiply<T>(weights, rows, sums, Into::add);
    };
    add_product(scores.transposed(), queries.d_output, chunk.d_value.middle_rows(first, count), seen_by);
    add_product(d_scores, key, queries.d_query, visible);
    add_product(d_scores.transposed(), queries.query, chunk.d_key.middle_rows(first, count), seen_by);
}

}  // namespace detail

/// All queries of a seat with a chunk of keys and values, both of one head: adds to the gradients of both,
/// queries in rising order to a key, keys in rising order to a query.
template <class T>
void absorb_chunk_backward(const QueryGradient<T>& queries, const KeyValueGradient<T>& chunk,
                           const Mask& mask, T scale) {
    for (Index first_key = 0; first_key < chunk.key.rows; first_key += key_tile) {
        const Index num_keys = std::min(key_tile, chunk.key.rows - first_key);
        for (Index first = 0; first < queries.query.rows; first += query_tile) {
            const Index count = std::min(query_tile, queries.query.rows - first);
            detail::backward_tile(queries.middle_rows(first, count), chunk, first_key, num_keys, mask, scale);
        }
    }
}

}  // namespace ring_attention
