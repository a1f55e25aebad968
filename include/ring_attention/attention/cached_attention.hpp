#pragma once

#include <ring_attention/attention/forward.hpp>
#include <ring_attention/ring/local_ring.hpp>

namespace ring_attention::inline RING_ATTENTION_ABI {

/// Attention of new tokens, at the places `tokens`, to what a cache holds. terms: without a bias.
template <class T>
void attend_to_cache(const AttentionPlan& plan, const ScoreTerms<T>& terms, const HeadsView<const T>& query,
                     const TokenPositions& tokens, const KeyValueView<const T>& cached,
                     const HeadsView<T>& output) {
    RowVector<T> numbers(plan.heads.batch_heads() * tokens.count);
    const auto log_sum_exp = HeadsView<T>::head_by_head(numbers.data(), plan.heads.heads, tokens.count, 1);
    detail::attend_as<T>(tokens.count, LocalRing(), plan, {{tokens}, {query}, terms}, {cached}, {},
                         {{output}, {log_sum_exp}});
}

}  // namespace ring_attention::inline RING_ATTENTION_ABI
