#pragma once

#include <ring_attention/attention/cached_attention.hpp>
#include <ring_attention/attention/operator.hpp>
#include <ring_attention/kernels/product.hpp>

// Attention and the product of matrices are compiled once, in instances.cpp, and not again in each program
// that includes this: that takes most of the time. Who chooses other products than the rest defines
// RING_ATTENTION_TESTS_OWN_INSTANCES, for those are other functions.

#ifndef RING_ATTENTION_TESTS_OWN_INSTANCES

#ifndef RING_ATTENTION_TESTS_INSTANCE
#define RING_ATTENTION_TESTS_INSTANCE extern template
#endif

namespace ring_attention::inline RING_ATTENTION_ABI {

#define RING_ATTENTION_TESTS_INSTANCES(T)                                                                    \
    RING_ATTENTION_TESTS_INSTANCE void detail::parallel_multiply<T>(                                         \
        detail::MatrixView<const T>, detail::MatrixView<const T>, detail::MatrixView<T>, detail::Into);      \
    RING_ATTENTION_TESTS_INSTANCE void detail::multiply_blocks<T>(                                           \
        detail::MatrixView<const T>, const detail::MatrixView<const T>&, detail::MatrixView<T>, bool,        \
        const detail::OnAllThreads&, const detail::TileFinish<T>&);                                          \
    RING_ATTENTION_TESTS_INSTANCE void attend<T>(RingReference, const AttentionPlan&, const SeatQueries<T>&, \
                                                 const KeyValues<const T>&, const KeyValueMessage<T>&,       \
                                                 const SeatAttention<T>&);                                   \
    RING_ATTENTION_TESTS_INSTANCE void attend_backward<T>(                                                   \
        RingReference, const AttentionPlan&, const SeatGradientViews<T>&, const KeyValueMessage<T>&);        \
    RING_ATTENTION_TESTS_INSTANCE void attend_to_cache<T>(                                                   \
        const AttentionPlan&, const ScoreTerms<T>&, const HeadsView<const T>&, const TokenPositions&,        \
        const KeyValueView<const T>&, const HeadsView<T>&);                                                  \
    RING_ATTENTION_TESTS_INSTANCE AttentionResult<T> attention<T>(                                           \
        const Tensor<T, 4>&, const Tensor<T, 4>&, const Tensor<T, 4>&, const AttentionOptions&,              \
        const detail::Terms<T>&, RingReference);                                                             \
    RING_ATTENTION_TESTS_INSTANCE AttentionGradient<T> attention_backward<T>(                                \
        const Tensor<T, 4>&, const Tensor<T, 4>&, const Tensor<T, 4>&, const Tensor<T, 4>&,                  \
        const AttentionResult<T>&, const AttentionOptions&, const detail::Terms<T>&, RingReference);

RING_ATTENTION_TESTS_INSTANCES(float)
RING_ATTENTION_TESTS_INSTANCES(double)

}  // namespace ring_attention::inline RING_ATTENTION_ABI

#endif
