#pragma once

#include <algorithm>

#include <ring_attention/attention/forward.hpp>
#include <ring_attention/core/parallel.hpp>

namespace ring_attention::inline RING_ATTENTION_ABI {

/// Attention of new tokens, at the places `tokens`, to what a cache holds. terms: without a bias.
template <class T>
void attend_to_cache(const AttentionPlan& plan, const ScoreTerms<T>& terms, const HeadsView<const T>& query,
                     const TokenPositions& tokens, const KeyValueView<const T>& cached,
                     const HeadsView<T>& output) {
    const List<detail::QueryPlace> places =
        detail::query_places({tokens}, plan.heads, detail::QueryBlock<T>::max_queries);
    RowVector<T> numbers(plan.heads.batch_heads() * tokens.count);
    const auto log_sum_exp = HeadsView<T>::head_by_head(numbers.data(), plan.heads.heads, tokens.count, 1);
    parallel_for(Index(places.size()), [&](Index i) {
        const auto& [seat, batch_head, rows] = places[std::size_t(i)];
        detail::QueryBlock<T> block(plan, terms, seat, batch_head, query, tokens, rows);
        if (terms.sinks) block.absorb_sinks(terms.sinks, plan.heads.heads);
        block.absorb(cached.key_rows(batch_head), cached.value_rows(batch_head), cached.tokens);
        block.finish(output, log_sum_exp);
    });
}

}  // namespace ring_attention::inline RING_ATTENTION_ABI
