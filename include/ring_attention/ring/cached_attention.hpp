#pragma once

#include <limits>

#include <ring_attention/core/parallel.hpp>
#include <ring_attention/ring/attention_pass.hpp>
#include <ring_attention/ring/key_value_cache.hpp>

namespace ring_attention {

/// Causal attention of new tokens to all that the cache holds, themselves the last of them. query and result:
/// [batch * heads * tokens, head_dim].
template <class T>
Matrix<T> attend_to_cache(const Matrix<T>& query, const TokenRun& tokens, const KeyValueCache<T>& cache) {
    const HeadShape& shape = cache.shape();
    const TokenRun all{0, tokens.first + tokens.count};
    const Index tiles = (tokens.count + query_tile - 1) / query_tile;
    const T scale = detail::score_scale<T>(shape);
    Matrix<T> output = Matrix<T>::Zero(query.rows(), query.cols());
    RowVector<T> maximum = RowVector<T>::Constant(query.rows(), -std::numeric_limits<T>::infinity());
    RowVector<T> sum = RowVector<T>::Zero(query.rows()), log_sum_exp(query.rows());
    parallel_for(shape.batch_heads() * tiles, [&](Index i) {
        const Index batch_head = i / tiles, first = i % tiles * query_tile;
        const Index row = batch_head * tokens.count + first,
                    count = std::min(query_tile, tokens.count - first);
        const QueryTile<T> tile{view(query).middle_rows(row, count),
                                {tokens.position(first), count},
                                view(output).middle_rows(row, count),
                                maximum.data() + row,
                                sum.data() + row};
        absorb_chunk<T>(tile, cache.key(batch_head, all.count), cache.value(batch_head, all.count), all,
                        Mask{}, scale);
        finish_queries(tile, log_sum_exp.data() + row);
    });
    return output;
}

}  // namespace ring_attention
