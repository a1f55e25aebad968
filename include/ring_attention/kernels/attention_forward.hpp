#pragma once

#include <array>
#include <cmath>
#include <limits>

#include <ring_attention/kernels/elementwise.hpp>
#include <ring_attention/kernels/mask.hpp>
#include <ring_attention/kernels/product.hpp>
#include <ring_attention/kernels/reduce.hpp>
#include <ring_attention/kernels/weighted_sum.hpp>

namespace ring_attention {

// Cases: (M,D) x (N,D) => (M,N) scores, (M,N) x (N,D) => (M,D) output; M queries of a tile, N keys of a tile.

inline constexpr Index query_tile = 64;
inline constexpr Index key_tile = 64;

/// Queries of one head that absorb one chunk after the other (online softmax; Milakov, Gimelshein 2018,
/// 1805.02867, and Liu, Zaharia, Abbeel 2023, 2310.01889, algorithm 1).
template <class T>
struct QueryTile {
    MatrixView<const T> query;  // (M, D)
    TokenRun tokens;            // of the M queries
    MatrixView<T> output;       // (M, D) sum of exp(score - maximum) value so far
    T* maximum;                 // (M) largest score so far, -infinity at first
    T* sum;                     // (M) sum of exp(score - maximum) so far
};

namespace detail {

/// The number of keys of a tile that each query of a tile sees.
struct VisibleKeys {
    std::array<Index, query_tile> count{};
    bool any = false;      // some query sees some key
    bool partial = false;  // some query does not see some key

    VisibleKeys(const Mask& mask, const TokenRun& queries, const TokenRun& keys, Index first_key,
                Index num_keys) {
        for (Index i = 0; i < queries.count; ++i) {
            const Index seen = mask.visible(queries.position(i), keys) - first_key;
            count[std::size_t(i)] = std::clamp<Index>(seen, 0, num_keys);
            any |= seen > 0;
            partial |= seen < num_keys;
        }
    }

    bool operator()(Index query, Index key) const { return key < count[std::size_t(query)]; }
    Index of(Index query) const { return count[std::size_t(query)]; }
};

/// weights (M,N) holds scores on entry, exp(score - maximum) on return, exactly 0 where a key is not seen;
/// the running maximum, sum and output of the queries move on to the new maximum.
template <class T>
void softmax_step(MatrixView<T> weights, T scale, const VisibleKeys& visible, const QueryTile<T>& tile) {
    for (Index i = 0; i < weights.rows; ++i) {
        T* row = &weights(i, 0);
        const Index seen = visible.of(i);
        for (Index j = 0; j < seen; ++j) row[j] *= scale;
        const T new_maximum = std::max(tile.maximum[i], maximum(row, seen));
        // Nothing but -infinity so far: exp(-infinity - 0) is 0, where -infinity - -infinity would be NaN.
        const T shift = new_maximum == -std::numeric_limits<T>::infinity() ? T(0) : new_maximum;
        const T decay = std::exp(tile.maximum[i] - shift);
        tile.sum[i] = decay * tile.sum[i] + exp_shifted(row, shift, row, seen);
        std::fill(row + seen, row + weights.cols, T(0));
        if (decay != T(1))
            for (Index j = 0; j < tile.output.cols; ++j) tile.output(i, j) *= decay;
        tile.maximum[i] = new_maximum;
    }
}

}  // namespace detail

/// The queries absorb a chunk of keys and values (N, D) of their head.
template <class T>
void absorb_chunk(const QueryTile<T>& tile, MatrixView<const T> keys, MatrixView<const T> values,
                  const TokenRun& key_tokens, const Mask& mask, T scale) {
    static thread_local Matrix<T> scores(query_tile, key_tile);
    for (Index first = 0; first < keys.rows; first += key_tile) {
        const Index count = std::min(key_tile, keys.rows - first);
        const detail::VisibleKeys visible(mask, tile.tokens, key_tokens, first, count);
        if (!visible.any) continue;

        const MatrixView<T> weights = view(scores).middle_rows(0, tile.query.rows).middle_cols(0, count);
        multiply<T>(tile.query, keys.middle_rows(first, count).transposed(), weights);
        detail::softmax_step(weights, scale, visible, tile);
        if (visible.partial)
            add_weighted_rows<T>(weights, values.middle_rows(first, count), tile.output, visible);
        else
            multiply<T>(weights, values.middle_rows(first, count), tile.output, Into::add);
    }
}

/// After the last chunk: output becomes the mean of the values, log_sum_exp (M) = maximum + ln(sum). A query
/// that has seen nothing gets output 0 and -infinity.
template <class T>
void finish_queries(const QueryTile<T>& tile, T* log_sum_exp) {
    for (Index i = 0; i < tile.output.rows; ++i) {
        log_sum_exp[i] = tile.maximum[i] + std::log(tile.sum[i]);
        if (tile.sum[i] == T(0)) continue;
        for (Index j = 0; j < tile.output.cols; ++j) tile.output(i, j) /= tile.sum[i];
    }
}

}  // namespace ring_attention
