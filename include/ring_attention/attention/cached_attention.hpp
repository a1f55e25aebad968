#pragma once

#include <algorithm>

#include <ring_attention/attention/cache.hpp>
#include <ring_attention/attention/forward.hpp>
#include <ring_attention/core/parallel.hpp>

namespace ring_attention::inline RING_ATTENTION_ABI {

/// Causal attention of new tokens to all that a cache holds up to the last of them.
template <class T>
void attend_to_cache(const HeadsView<const T>& query, const TokenPositions& tokens,
                     const KeyValueView<const T>& cached, const HeadsView<T>& output,
                     const HeadShape& shape) {
    const List<detail::QueryPlace> places = detail::query_places({tokens}, shape, QueryBlock<T>::max_queries);
    RowVector<T> log_sum_exp(shape.batch_heads() * tokens.count);
    parallel_for(Index(places.size()), [&](Index i) {
        const auto& [at, batch_head, first, count] = places[std::size_t(i)];
        QueryBlock<T> block(query(batch_head).middle_rows(first, count), tokens.middle(first, count),
                            detail::score_scale<T>(shape));
        block.absorb(cached.key(batch_head), cached.value(batch_head), cached.tokens, Mask{});
        block.finish(output(batch_head).middle_rows(first, count),
                     log_sum_exp.data() + batch_head * tokens.count + first);
    });
}

}  // namespace ring_attention::inline RING_ATTENTION_ABI
