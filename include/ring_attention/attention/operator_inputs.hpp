#pragma once

#include <utility>

#include <ring_attention/attention/forward.hpp>
#include <ring_attention/attention/message.hpp>
#include <ring_attention/attention/scores.hpp>
#include <ring_attention/attention/seat_views.hpp>
#include <ring_attention/attention/seated_tensor.hpp>
#include <ring_attention/core/tensor.hpp>

namespace ring_attention::inline RING_ATTENTION_ABI {

/// What a score may consist of beside query and key, in the order in which it is added. All of it stays the
/// caller's.
template <class T>
struct AttentionTerms {
    /// Added to the scores, [batch or 1, heads or 1, q_len, kv_len]; on several ranks the rows of this rank's
    /// queries. -infinity hides a key from a query.
    const Tensor<T, 4>* bias = nullptr;
    /// [heads]: a score more in the softmax of every query, without a value; the same on all ranks.
    const Tensor<T, 1>* sinks = nullptr;
    /// A function of the score so far and of its place (ScoreFunction).
    ScoreFunctionReference<T> function = {};
};

namespace detail {

/// q, k, v and what belongs to the scores as the ring sees them.
template <class T>
class OperatorInputs {
  public:
    OperatorInputs(const Tensor<T, 4>& q, const Tensor<T, 4>& k, const Tensor<T, 4>& v,
                   const AttentionTerms<T>& terms, const AttentionPlan& plan)
        : query_(seated(q, plan.queries)), key_(seated(k, plan.keys)), value_(seated(v, plan.keys)) {
        queries_.tokens = query_tokens(plan);
        queries_.query = query_.seats();
        queries_.terms.function = terms.function;
        if (terms.sinks) queries_.terms.sinks = terms.sinks->data();
        if (terms.bias) {
            bias_.push_back(seated(*terms.bias, plan.queries));
            queries_.terms.bias = as_bias(bias_[0], plan, *terms.bias);
        }
        key_value_ = key_values(plan.keys, key_.seats(), value_.seats());
        const bool rounded = plan.storage != Storage::computing;
        if (plan.keys.ranks() > 1 || rounded) {
            message_ = KeyValueMessage<T>(plan.keys, plan.heads, plan.storage);
            copy_heads<T>(key_value_, message_.views(), plan.heads.batch_key_value_heads());
        }
        if (rounded) key_value_ = std::as_const(message_).views();
    }

    const SeatQueries<T>& queries() const { return queries_; }
    const KeyValues<const T>& key_value() const { return key_value_; }
    const KeyValueMessage<T>& message() const { return message_; }

    /// [batch or 1, heads or 1, ...] for all heads.
    template <class Number>
    static SeatHeads<Number> as_bias(const SeatedTensor<Number>& bias, const AttentionPlan& plan,
                                     const Tensor<T, 4>& tensor) {
        return broadcast(bias.seats(), plan.heads, tensor.dimension(0) == 1, tensor.dimension(1) == 1);
    }

  private:
    SeatedTensor<const T> query_, key_, value_;
    List<SeatedTensor<const T>> bias_;  // one or none
    SeatQueries<T> queries_;
    KeyValues<const T> key_value_;
    KeyValueMessage<T> message_;  // empty where there is nobody to send it to and nothing to round
};

}  // namespace detail

}  // namespace ring_attention::inline RING_ATTENTION_ABI
