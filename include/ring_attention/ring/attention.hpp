#pragma once

#include <array>

#include <ring_attention/core/tensor.hpp>
#include <ring_attention/ring/attention_pass_backward.hpp>
#include <ring_attention/ring/local_ring.hpp>
#include <ring_attention/ring/seats.hpp>

namespace ring_attention {

struct AttentionOptions {
    Index num_chunks = 1;  ///< seats of the ring; changes the result by rounding only
    bool causal = true;    ///< a query sees the keys at its position and before
};

template <class T>
struct AttentionResult {
    Tensor<T, 4> output;       ///< [batch, heads, seq_len, head_dim]
    Tensor<T, 3> log_sum_exp;  ///< [batch, heads, seq_len], of the scaled scores that the query sees
};

template <class T>
struct AttentionGradient {
    Tensor<T, 4> query, key, value;  ///< [batch, heads, seq_len, head_dim]
};

namespace detail {

/// What the operator finds out about its arguments before it computes.
struct OperatorPlan {
    Share share;
    HeadShape shape;
    Mask mask;

    /// The tokens of the rank at each seat.
    List<TokenRun> tokens() const {
        List<TokenRun> seats;
        seats.reserve(std::size_t(share.num_seats()));
        for (Index seat = 0; seat < share.num_seats(); ++seat) seats.push_back(share.tokens(seat));
        return seats;
    }
};

template <class T, Ring R>
OperatorPlan plan_attention(const Tensor<T, 4>& q, const Tensor<T, 4>& k, const Tensor<T, 4>& v,
                            const AttentionOptions& options, R& ring) {
    const auto& shape = q.dimensions();
    require_shape("k", k.dimensions(), shape);
    require_shape("v", v.dimensions(), shape);
    if (shape[0] < 1 || shape[1] < 1 || shape[3] < 1)
        throw ShapeError("q has shape " + shape_text(shape) +
                         ", expected batch, heads and head_dim of at least 1");
    const Share share = agree_on_share(
        ring, options.num_chunks, shape[2],
        {{"batch", shape[0]}, {"heads", shape[1]}, {"head_dim", shape[3]}, {"causal", options.causal}});
    return {share, {shape[0], shape[1], shape[3]}, {options.causal}};
}

/// The seats of a tensor [batch, heads, tokens of the rank] or [..., head_dim], where they lie.
template <class T>
SeatHeads<T> seats_of(T* numbers, Index width, const OperatorPlan& plan) {
    const auto all = HeadsView<T>::head_by_head(numbers, plan.shape, plan.share.num_tokens(), width);
    SeatHeads<T> seats;
    seats.reserve(std::size_t(plan.share.num_seats()));
    for (Index seat = 0; seat < plan.share.num_seats(); ++seat) {
        const TokenRun tokens = plan.share.tokens(seat);
        seats.push_back(all.middle_tokens(tokens.first - plan.share.first_position(), tokens.count));
    }
    return seats;
}
template <class T, int rank>
SeatHeads<const T> seats_of(const Tensor<T, rank>& tensor, const OperatorPlan& plan) {
    return seats_of(tensor.data(), rank == 4 ? tensor.dimensions().back() : 1, plan);
}
template <class T, int rank>
SeatHeads<T> seats_of(Tensor<T, rank>& tensor, const OperatorPlan& plan) {
    return seats_of(tensor.data(), rank == 4 ? tensor.dimensions().back() : 1, plan);
}

template <class T>
KeyValues<T> key_values(const SeatHeads<T>& keys, const SeatHeads<T>& values, const OperatorPlan& plan) {
    KeyValues<T> both;
    both.reserve(keys.size());
    for (std::size_t seat = 0; seat < keys.size(); ++seat)
        both.push_back({plan.share.tokens(Index(seat)), keys[seat], values[seat]});
    return both;
}

/// Keys and values as they are sent; empty where there is nobody to send them to.
template <class T>
Travellers<T> travellers_of(const KeyValues<const T>& key_value, const OperatorPlan& plan) {
    if (plan.share.ranks() == 1) return {};
    Travellers<T> travellers(plan.share, plan.shape);
    travellers.set_zero();
    add_heads<T>(key_value, travellers.views(), plan.shape.batch_heads());
    return travellers;
}

}  // namespace detail

/// Exact attention softmax(q k^T / sqrt(head_dim)) v by a ring of options.num_chunks seats (Liu, Zaharia,
/// Abbeel 2023, arXiv 2310.01889). q, k, v: [batch, heads, seq_len, head_dim]; on several ranks, the tokens
/// of this rank's Share. Throws ShapeError where shapes or num_chunks do not fit, RingError where there are
/// more ranks than seats.
template <class T, Ring R>
AttentionResult<T> attention(const Tensor<T, 4>& q, const Tensor<T, 4>& k, const Tensor<T, 4>& v,
                             const AttentionOptions& options, R& ring) {
    const detail::OperatorPlan plan = detail::plan_attention(q, k, v, options, ring);
    const KeyValues<const T> key_value =
        detail::key_values(detail::seats_of(k, plan), detail::seats_of(v, plan), plan);
    const Travellers<T> travellers = detail::travellers_of<T>(key_value, plan);
    AttentionResult<T> result{Tensor<T, 4>(q.dimensions()),
                              Tensor<T, 3>(q.dimension(0), q.dimension(1), q.dimension(2))};
    const List<TokenRun> tokens = plan.tokens();
    attend<T>(ring, plan.share, plan.shape, plan.mask, {tokens, detail::seats_of(q, plan)}, key_value,
              travellers.bytes(),
              {detail::seats_of(result.output, plan), detail::seats_of(result.log_sum_exp, plan)});
    return result;
}

template <class T>
AttentionResult<T> attention(const Tensor<T, 4>& q, const Tensor<T, 4>& k, const Tensor<T, 4>& v,
                             const AttentionOptions& options = {}) {
    LocalRing ring;
    return attention(q, k, v, options, ring);
}

/// Gradients of dot(d_output, attention(q, k, v, options).output) with respect to q, k and v; result is what
/// attention() returned. Throws as attention() does.
template <class T, Ring R>
AttentionGradient<T> attention_backward(const Tensor<T, 4>& d_output, const Tensor<T, 4>& q,
                                        const Tensor<T, 4>& k, const Tensor<T, 4>& v,
                                        const AttentionResult<T>& result, const AttentionOptions& options,
                                        R& ring) {
    require_shape("d_output", d_output.dimensions(), q.dimensions());
    require_shape("result.output", result.output.dimensions(), q.dimensions());
    require_shape("result.log_sum_exp", result.log_sum_exp.dimensions(),
                  std::array<Index, 3>{q.dimension(0), q.dimension(1), q.dimension(2)});
    const detail::OperatorPlan plan = detail::plan_attention(q, k, v, options, ring);
    const auto zeros = [&] {
        Tensor<T, 4> tensor(q.dimensions());
        tensor.setZero();
        return tensor;
    };
    const KeyValues<const T> key_value =
        detail::key_values(detail::seats_of(k, plan), detail::seats_of(v, plan), plan);
    const Travellers<T> travellers = detail::travellers_of<T>(key_value, plan);
    AttentionGradient<T> gradient{zeros(), zeros(), zeros()};
    attend_backward<T>(
        ring, plan.share, plan.shape, plan.mask,
        {detail::seats_of(q, plan), detail::seats_of(d_output, plan), detail::seats_of(result.output, plan),
         detail::seats_of(result.log_sum_exp, plan), key_value, detail::seats_of(gradient.query, plan),
         detail::key_values(detail::seats_of(gradient.key, plan), detail::seats_of(gradient.value, plan),
                            plan)},
        travellers.bytes());
    return gradient;
}

template <class T>
AttentionGradient<T> attention_backward(const Tensor<T, 4>& d_output, const Tensor<T, 4>& q,
                                        const Tensor<T, 4>& k, const Tensor<T, 4>& v,
                                        const AttentionResult<T>& result,
                                        const AttentionOptions& options = {}) {
    LocalRing ring;
    return attention_backward(d_output, q, k, v, result, options, ring);
}

}  // namespace ring_attention
