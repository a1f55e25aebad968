#pragma once

#include <ring_attention/attention/heads.hpp>
#include <ring_attention/attention/scores.hpp>

namespace ring_attention::inline RING_ATTENTION_ABI {

/// The queries of a rank: at each seat some or all of its tokens, and what belongs to their scores.
template <class T>
struct SeatQueries {
    List<TokenPositions> tokens;
    SeatHeads<const T> query;
    ScoreTerms<T> terms{};
};

/// What the queries get from the whole ring.
template <class T>
struct SeatAttention {
    SeatHeads<T> output;
    SeatHeads<T> log_sum_exp;         ///< of width 1
    SeatHeads<T> log_sum_exp_rest{};  ///< alike; empty where nobody wants it
};

}  // namespace ring_attention::inline RING_ATTENTION_ABI
