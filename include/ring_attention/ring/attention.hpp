#pragma once

#include <array>

#include <ring_attention/core/tensor.hpp>
#include <ring_attention/ring/attention_pass.hpp>
#include <ring_attention/ring/local_ring.hpp>

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

template <class T>
Seats<T> split_heads(const Tensor<T, 4>& tensor, const OperatorPlan& plan) {
    return split_seats(tensor.data(), plan.shape.batch_heads(), plan.shape.head_dim, plan.share);
}

template <class T>
Tensor<T, 4> join_heads(const Seats<T>& seats, const OperatorPlan& plan) {
    Tensor<T, 4> tensor(plan.shape.batch, plan.shape.heads, plan.share.num_tokens(), plan.shape.head_dim);
    join_seats(seats, plan.shape.batch_heads(), plan.share, tensor.data());
    return tensor;
}

template <class T>
Travellers<T> pack_key_value(const Seats<T>& keys, const Seats<T>& values, const OperatorPlan& plan) {
    Travellers<T> packed(plan.share, plan.shape);
    for (Index seat = 0; seat < plan.share.num_seats(); ++seat) {
        std::copy_n(keys[std::size_t(seat)].data(), keys[std::size_t(seat)].size(), packed.keys(seat).data);
        std::copy_n(values[std::size_t(seat)].data(), values[std::size_t(seat)].size(),
                    packed.values(seat).data);
    }
    return packed;
}

template <class T>
Matrix<T> copy_of(MatrixView<const T> rows) {
    return Eigen::Map<const Matrix<T>>(rows.data, rows.rows, rows.cols);
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
    const SeatAttention<T> seats =
        attend(ring, plan.share, plan.shape, plan.mask, detail::split_heads(q, plan),
               detail::pack_key_value(detail::split_heads(k, plan), detail::split_heads(v, plan), plan));
    AttentionResult<T> result{detail::join_heads(seats.output, plan),
                              Tensor<T, 3>(plan.shape.batch, plan.shape.heads, plan.share.num_tokens())};
    Seats<T> columns;
    for (const RowVector<T>& row : seats.log_sum_exp) columns.push_back(row.transpose());
    join_seats(columns, plan.shape.batch_heads(), plan.share, result.log_sum_exp.data());
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
    SeatAttention<T> seats{detail::split_heads(result.output, plan), {}};
    for (const Matrix<T>& column :
         split_seats(result.log_sum_exp.data(), plan.shape.batch_heads(), 1, plan.share))
        seats.log_sum_exp.push_back(column.transpose());
    const SeatAttentionGradient<T> gradient = attend_backward(
        ring, plan.share, plan.shape, plan.mask, detail::split_heads(q, plan),
        detail::pack_key_value(detail::split_heads(k, plan), detail::split_heads(v, plan), plan), seats,
        detail::split_heads(d_output, plan));
    Seats<T> d_keys, d_values;
    for (Index seat = 0; seat < plan.share.num_seats(); ++seat) {
        d_keys.push_back(detail::copy_of(gradient.key_value.keys(seat)));
        d_values.push_back(detail::copy_of(gradient.key_value.values(seat)));
    }
    return {detail::join_heads(gradient.query, plan), detail::join_heads(d_keys, plan),
            detail::join_heads(d_values, plan)};
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
