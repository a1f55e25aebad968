#pragma once

#include <ring_attention/attention/operator.hpp>
#include <ring_attention/attention/seat_attention.hpp>
#include <ring_attention/kernels/product.hpp>
#include <ring_attention/ring/thread/thread_ring.hpp>

// Attention, its parts and caches and the product of matrices are compiled once, in instances.cpp, and not
// again in each program that includes this: that takes most of the time. Who chooses other products than the
// default has instances of its own, for those are other functions.

#if RING_ATTENTION_BFLOAT16_PRODUCTS == RING_ATTENTION_BFLOAT16_PRODUCTS_DEFAULT

#ifndef RING_ATTENTION_TESTS_INSTANCE
#define RING_ATTENTION_TESTS_INSTANCE extern template
#endif

namespace ring_attention::inline RING_ATTENTION_ABI {

RING_ATTENTION_TESTS_INSTANCE RingReference::RingReference(ThreadRing&);

#define RING_ATTENTION_TESTS_INSTANCES_OF_RIGHT(T, Right)                                                   \
    RING_ATTENTION_TESTS_INSTANCE void detail::multiply<T>(                                                 \
        detail::MatrixView<const T>, detail::MatrixView<const Right>, detail::MatrixView<T>, detail::Into); \
    RING_ATTENTION_TESTS_INSTANCE void detail::parallel_multiply<T>(                                        \
        detail::MatrixView<const T>, detail::MatrixView<const Right>, detail::MatrixView<T>, detail::Into); \
    RING_ATTENTION_TESTS_INSTANCE void detail::multiply_blocks<T>(                                          \
        detail::MatrixView<const T>, const detail::MatrixView<const Right>&, detail::MatrixView<T>, bool,   \
        const detail::OnAllThreads&, const detail::TileFinish<T>&);                                         \
    RING_ATTENTION_TESTS_INSTANCE void detail::multiply_few_rows<T>(                                        \
        detail::MatrixView<const T>, detail::MatrixView<const Right>, T*, Index);                           \
    RING_ATTENTION_TESTS_INSTANCE void detail::add_weighted_to_few_rows<T>(                                 \
        detail::MatrixView<const T>, detail::MatrixView<const Right>, detail::MatrixView<T>);

#define RING_ATTENTION_TESTS_INSTANCES(T)                                                                    \
    RING_ATTENTION_TESTS_INSTANCES_OF_RIGHT(T, T)                                                            \
    RING_ATTENTION_TESTS_INSTANCES_OF_RIGHT(T, Bfloat16)                                                     \
    RING_ATTENTION_TESTS_INSTANCE class detail::QueryBlock<T>;                                               \
    RING_ATTENTION_TESTS_INSTANCE void detail::absorb_block_backward<T>(                                     \
        const detail::QueryHead<T>&, const IndexRange&, const detail::QueryGradient<T>&,                     \
        const detail::KeyValueGradient<T>&);                                                                 \
    RING_ATTENTION_TESTS_INSTANCE class KeyValueMessage<T>;                                                  \
    RING_ATTENTION_TESTS_INSTANCE class KeyValueCache<T>;                                                    \
    RING_ATTENTION_TESTS_INSTANCE class SeatCaches<T>;                                                       \
    RING_ATTENTION_TESTS_INSTANCE void detail::gather_key_values<T>(                                         \
        RingReference, const Share&, const HeadShape&, const KeyValueMessage<T>&, const KeyValues<T>&);      \
    RING_ATTENTION_TESTS_INSTANCE void attend<T>(RingReference, const AttentionPlan&, const SeatQueries<T>&, \
                                                 const KeyValues<const T>&, const KeyValueMessage<T>&,       \
                                                 const SeatAttention<T>&);                                   \
    RING_ATTENTION_TESTS_INSTANCE void attend_backward<T>(                                                   \
        RingReference, const AttentionPlan&, const SeatGradientViews<T>&, const KeyValueMessage<T>&);        \
    RING_ATTENTION_TESTS_INSTANCE void attend_to_cache<T>(                                                   \
        const AttentionPlan&, const ScoreTerms<T>&, const HeadsView<const T>&, const TokenPositions&,        \
        const KeyValueView<const T>&, const HeadsView<T>&);                                                  \
    RING_ATTENTION_TESTS_INSTANCE void attend_to_seats<T>(                                                   \
        RingReference, const AttentionPlan&, const ScoreTerms<T>&, const HeadsView<const T>&,                \
        const TokenPositions&, const StreamLayout&, const SeatCaches<T>&, const HeadsView<T>&);              \
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
