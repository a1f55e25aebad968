#pragma once

#include <ring_attention/attention/scores.hpp>
#include <ring_attention/attention/stored_rows.hpp>
#include <ring_attention/kernels/matrix_view.hpp>

namespace ring_attention::inline RING_ATTENTION_ABI::detail {

/// Queries of one head and what backward knows of them; M of them.
template <class T>
struct QueryGradient {
    MatrixView<const T> query;     // (M, D)
    MatrixView<const T> d_output;  // (M, Dv)
    const T* log_sum_exp;          // (M)
    const T* log_sum_exp_rest;     // (M) or none
    const T* d_output_dot_output;  // (M) rowsum(d_output output)
    MatrixView<T> d_query;         // (M, D) added to

    QueryGradient middle_rows(Index first, Index count) const {
        return {query.middle_rows(first, count),
                d_output.middle_rows(first, count),
                log_sum_exp + first,
                log_sum_exp_rest ? log_sum_exp_rest + first : nullptr,
                d_output_dot_output + first,
                d_query.middle_rows(first, count)};
    }
};

/// Keys and values of one head; N of them.
template <class T, class Rows = StoredRows<const T>>
struct KeyValueGradient {
    Rows key, value;  // (N, D), (N, Dv)
    TokenPositions tokens;
    MatrixView<T> d_key, d_value;  // added to

    KeyValueGradient middle_rows(Index first, Index count) const {
        return {key.middle_rows(first, count), value.middle_rows(first, count), tokens.middle(first, count),
                d_key.middle_rows(first, count), d_value.middle_rows(first, count)};
    }
};

/// So few of them that they are there to compute with.
template <class T>
using KeyValueTile = KeyValueGradient<T, MatrixView<const T>>;

/// Where queries of one head stand, and what their scores are.
template <class T>
struct QueryHead {
    const AttentionPlan& plan;
    const ScoreTerms<T>& terms;
    Index seat;
    Index head;  ///< number batch * heads + head
    TokenPositions tokens;
    HeadsView<T> d_bias;  ///< added to; empty: not wanted
};

}  // namespace ring_attention::inline RING_ATTENTION_ABI::detail
