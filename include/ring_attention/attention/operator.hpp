#pragma once

#include <algorithm>
#include <array>
#include <type_traits>

#include <ring_attention/attention/backward.hpp>
#include <ring_attention/attention/operator_inputs.hpp>
#include <ring_attention/attention/options.hpp>
#include <ring_attention/attention/seated_tensor.hpp>
#include <ring_attention/ring/local_ring.hpp>
#include <ring_attention/ring/sum_in_seat_order.hpp>
#include <ring_attention/sequence/agreement.hpp>

namespace ring_attention::inline RING_ATTENTION_ABI {

template <class T>
struct AttentionResult {
    Tensor<T, 4> output;       ///< [batch, heads, q_len, value_dim]
    Tensor<T, 3> log_sum_exp;  ///< [batch, heads, q_len], of all scores that the softmax saw

    /// [batch, heads, q_len]: what backward needs beside a large log_sum_exp, which is rounded (in base 2); 0
    /// where it is below 64 in size. Left empty, backward's weights exp(score - log_sum_exp) are as inexact
    /// as that.
    Tensor<T, 3> log_sum_exp_rest{};
};

template <class T>
struct AttentionGradient {
    Tensor<T, 4> query, key, value;  ///< of the shapes of q, k and v
    Tensor<T, 4> bias{};             ///< of the shape of the bias, where there is one
    Tensor<T, 1> sinks{};            ///< [heads], where there are sinks; the same on all ranks
};

namespace detail {

template <class T>
using Terms = std::type_identity_t<AttentionTerms<T>>;

inline Agreed agreed_storage(Storage storage) {
    return {"storage", Index(storage), [](Index which) -> std::string { return name_of(Storage(which)); }};
}

/// The plan that all ranks agree on. Throws the same on all ranks, but where the shapes on one do not fit
/// each other.
template <class T>
AttentionPlan plan_attention(const Tensor<T, 4>& q, const Tensor<T, 4>& k, const Tensor<T, 4>& v,
                             const AttentionOptions& options, const AttentionTerms<T>& terms,
                             RingReference ring) {
    const auto &shape = q.dimensions(), &key_shape = k.dimensions();
    require_countable("q", shape);
    require_countable("k", key_shape);
    require_countable("v", v.dimensions());
    if (shape[0] < 1 || shape[1] < 1 || shape[3] < 1)
        throw ShapeError("q has shape " + shape_text(shape) +
                         ", expected batch, heads and head_dim of at least 1");
    const Index kv_heads = key_shape[1];
    if (kv_heads < 1 || shape[1] % kv_heads != 0)
        throw ShapeError("k has shape " + shape_text(key_shape) +
                         ", expected key-value heads that divide the " + std::to_string(shape[1]) + " of q");
    require_shape("k", key_shape, std::array<Index, 4>{shape[0], kv_heads, key_shape[2], shape[3]});
    const Index value_width = v.dimension(3);
    require_shape("v", v.dimensions(),
                  std::array<Index, 4>{shape[0], kv_heads, key_shape[2], std::max<Index>(value_width, 1)});
    const AttentionOptions& o = options;
    const double factors[] = {o.scale, o.softcap};
    const Share queries =
        agree_on_share(ring, o.num_chunks, o.layout, shape[2],
                       {{"batch", shape[0]},
                        {"heads", shape[1]},
                        {"key-value heads", kv_heads},
                        {"head_dim", shape[3]},
                        {"value_dim", value_width},
                        {"causal", o.causal},
                        {"window", o.window},
                        {"prefix", o.prefix},
                        {"query_offset", o.query_offset},
                        agreed_numbers("document_starts", o.document_starts),
                        agreed_numbers("lengths", o.lengths),
                        agreed_numbers("scale or softcap", factors, 2),
                        agreed_numbers("alibi_slopes", o.alibi_slopes),
                        agreed_storage(o.storage),
                        {"bias batch", terms.bias ? terms.bias->dimension(0) : 0},
                        {"bias heads", terms.bias ? terms.bias->dimension(1) : 0},
                        {"score function", bool(terms.function)},
                        agreed_numbers("sinks", terms.sinks ? terms.sinks->data() : nullptr,
                                       terms.sinks ? std::size_t(terms.sinks->size()) : 0)});
    const Share keys = agree_on_share(ring, o.num_chunks, o.layout, key_shape[2], {});
    const AttentionPlan plan =
        plan_of<T>(options, queries, keys, {shape[0], shape[1], kv_heads, shape[3], value_width});
    if (terms.bias) {
        const auto given = terms.bias->dimensions();
        require_shape("bias", given,
                      std::array<Index, 4>{given[0] == 1 ? 1 : shape[0], given[1] == 1 ? 1 : shape[1],
                                           shape[2], keys.layout().seq_len()});
    }
    if (terms.sinks) require_shape("sinks", terms.sinks->dimensions(), std::array<Index, 1>{shape[1]});
    return plan;
}

/// With any content, in large pages: a window's gradients would take a twentieth longer in small ones.
template <class T, int rank>
Tensor<T, rank> new_tensor(const Eigen::DSizes<Index, rank>& shape) {
    Tensor<T, rank> tensor(shape);
    ask_for_large_pages(tensor.data(), std::size_t(tensor.size()) * sizeof(T));
    return tensor;
}

template <class T, int rank>
Tensor<T, rank> zeros(const Eigen::DSizes<Index, rank>& shape) {
    Tensor<T, rank> tensor = new_tensor<T, rank>(shape);
    std::fill_n(tensor.data(), tensor.size(), T(0));
    return tensor;
}

}  // namespace detail

/// Exact attention softmax(scores) v by a ring of options.num_chunks seats (Liu, Zaharia, Abbeel 2023, arXiv
/// 2310.01889), where scores = scale q k^T and what options and terms make of it.
/// q [batch, heads, q_len, head_dim], k [batch, kv_heads, kv_len, head_dim], v [batch, kv_heads, kv_len,
/// value_dim]; on several ranks, the tokens of this rank's Share. Query head h reads key-value head h /
/// (heads / kv_heads). A query that sees nothing gets output 0. It and its gradients are exact up to scores
/// of 1e9 in size in float, 1e17 in double, as the products q k^T are. Throws ShapeError where shapes do not
/// fit, Error where an option does not, RingError where ranks differ in any of it or there are more ranks
/// than seats.
template <class T>
AttentionResult<T> attention(const Tensor<T, 4>& q, const Tensor<T, 4>& k, const Tensor<T, 4>& v,
                             const AttentionOptions& options = {}, const detail::Terms<T>& terms = {},
                             RingReference ring = LocalRing()) {
    const AttentionPlan plan = detail::plan_attention(q, k, v, options, terms, ring);
    const detail::OperatorInputs<T> inputs(q, k, v, terms, plan);
    const Eigen::DSizes<Index, 4> output_shape{q.dimension(0), q.dimension(1), q.dimension(2),
                                               v.dimension(3)};
    const Eigen::DSizes<Index, 3> a_number_a_query{q.dimension(0), q.dimension(1), q.dimension(2)};
    AttentionResult<T> result{detail::new_tensor<T>(output_shape), detail::new_tensor<T>(a_number_a_query),
                              detail::new_tensor<T>(a_number_a_query)};
    const auto output = detail::seated(result.output, plan.queries),
               log_sum_exp = detail::seated(result.log_sum_exp, plan.queries),
               log_sum_exp_rest = detail::seated(result.log_sum_exp_rest, plan.queries);
    attend<T>(ring, plan, inputs.queries(), inputs.key_value(), inputs.message(),
              {output.seats(), log_sum_exp.seats(), log_sum_exp_rest.seats()});
    for (const auto* tensor : {&output, &log_sum_exp, &log_sum_exp_rest}) tensor->leave();
    return result;
}

template <class T>
AttentionResult<T> attention(const Tensor<T, 4>& q, const Tensor<T, 4>& k, const Tensor<T, 4>& v,
                             const AttentionOptions& options, RingReference ring) {
    return attention<T>(q, k, v, options, {}, ring);
}

/// Gradients of dot(d_output, attention(q, k, v, options, terms).output) with respect to q, k, v, bias and
/// sinks; result is what attention() returned. Throws as attention() does.
template <class T>
AttentionGradient<T> attention_backward(const Tensor<T, 4>& d_output, const Tensor<T, 4>& q,
                                        const Tensor<T, 4>& k, const Tensor<T, 4>& v,
                                        const AttentionResult<T>& result,
                                        const AttentionOptions& options = {},
                                        const detail::Terms<T>& terms = {},
                                        RingReference ring = LocalRing()) {
    const std::array<Index, 4> output_shape{q.dimension(0), q.dimension(1), q.dimension(2), v.dimension(3)};
    require_shape("d_output", d_output.dimensions(), output_shape);
    require_shape("result.output", result.output.dimensions(), output_shape);
    const std::array<Index, 3> a_number_a_query{q.dimension(0), q.dimension(1), q.dimension(2)};
    require_shape("result.log_sum_exp", result.log_sum_exp.dimensions(), a_number_a_query);
    const bool rest = result.log_sum_exp_rest.size() > 0;
    if (rest)
        require_shape("result.log_sum_exp_rest", result.log_sum_exp_rest.dimensions(), a_number_a_query);
    const AttentionPlan plan = detail::plan_attention(q, k, v, options, terms, ring);
    const detail::OperatorInputs<T> inputs(q, k, v, terms, plan);
    AttentionGradient<T> gradient{detail::zeros<T, 4>(q.dimensions()),
                                  detail::zeros<T, 4>(k.dimensions()),
                                  detail::zeros<T, 4>(v.dimensions()),
                                  {},
                                  {}};
    if (terms.bias) gradient.bias = detail::zeros<T, 4>(terms.bias->dimensions());
    if (terms.sinks) gradient.sinks = detail::zeros<T, 1>(terms.sinks->dimensions());
    const auto d_query = detail::seated(gradient.query, plan.queries),
               d_key = detail::seated(gradient.key, plan.keys),
               d_value = detail::seated(gradient.value, plan.keys);
    List<detail::SeatedTensor<T>> d_bias;
    if (terms.bias) d_bias.push_back(detail::seated(gradient.bias, plan.queries));
    List<RowVector<T>> d_sinks;  // a seat's
    List<std::span<T>> d_sinks_at_seats;
    for (std::size_t seat = 0; terms.sinks && seat < d_query.seats().size(); ++seat)
        d_sinks.emplace_back(RowVector<T>::Zero(plan.heads.heads));
    for (RowVector<T>& of_seat : d_sinks) d_sinks_at_seats.push_back(detail::numbers_of(of_seat));
    attend_backward<T>(
        ring, plan,
        {inputs.queries(), detail::seated(d_output, plan.queries).seats(),
         detail::seated(result.output, plan.queries).seats(),
         detail::seated(result.log_sum_exp, plan.queries).seats(),
         rest ? detail::seated(result.log_sum_exp_rest, plan.queries).seats() : SeatHeads<const T>(),
         inputs.key_value(), d_query.seats(), key_values(plan.keys, d_key.seats(), d_value.seats()),
         terms.bias ? detail::OperatorInputs<T>::as_bias(d_bias[0], plan, gradient.bias) : SeatHeads<T>(),
         d_sinks_at_seats,
         terms.bias && gradient.bias.dimension(0) * gradient.bias.dimension(1) < plan.heads.batch_heads()},
        inputs.message());
    if (terms.sinks) {
        List<JoinedSpan<const T>> contributions;
        for (const RowVector<T>& of_seat : d_sinks) contributions.emplace_back(detail::numbers_of(of_seat));
        add_in_seat_order(ring, JoinedSpan<T>(detail::numbers_of(gradient.sinks)), contributions);
    }
    for (const auto* tensor : {&d_query, &d_key, &d_value}) tensor->leave();
    for (const auto& tensor : d_bias) tensor.leave();
    return gradient;
}

template <class T>
AttentionGradient<T> attention_backward(const Tensor<T, 4>& d_output, const Tensor<T, 4>& q,
                                        const Tensor<T, 4>& k, const Tensor<T, 4>& v,
                                        const AttentionResult<T>& result, const AttentionOptions& options,
                                        RingReference ring) {
    return attention_backward<T>(d_output, q, k, v, result, options, {}, ring);
}

}  // namespace ring_attention::inline RING_ATTENTION_ABI
