#pragma once

#include <algorithm>
#include <array>
#include <type_traits>

#include <ring_attention/attention/backward.hpp>
#include <ring_attention/core/tensor.hpp>
#include <ring_attention/ring/local_ring.hpp>
#include <ring_attention/sequence/agreement.hpp>

namespace ring_attention::inline RING_ATTENTION_ABI {

struct AttentionOptions {
    Index num_chunks = 1;                ///< seats of the ring; changes the result by rounding only
    bool causal = true;                  ///< a query sees the keys at its position and before
    Layout layout = Layout::contiguous;  ///< which tokens sit at which seat; by rounding only, too
};

template <class T>
struct AttentionResult {
    Tensor<T, 4> output;       ///< [batch, heads, seq_len, head_dim]
    Tensor<T, 3> log_sum_exp;  ///< [batch, heads, seq_len], of the scaled scores that the query sees

    /// [batch, heads, seq_len]: what backward needs beside a large log_sum_exp, which is rounded (in base 2);
    /// 0 where it is below 64 in size. Left empty, backward's weights exp(score - log_sum_exp) are as inexact
    /// as that.
    Tensor<T, 3> log_sum_exp_rest{};
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
    List<TokenPositions> tokens() const {
        List<TokenPositions> seats;
        seats.reserve(std::size_t(share.num_seats()));
        for (Index seat = 0; seat < share.num_seats(); ++seat) seats.push_back(share.tokens(seat));
        return seats;
    }
};

template <class T, Ring R>
OperatorPlan plan_attention(const Tensor<T, 4>& q, const Tensor<T, 4>& k, const Tensor<T, 4>& v,
                            const AttentionOptions& options, R& ring) {
    const auto& shape = q.dimensions();
    require_countable("q", shape);
    require_shape("k", k.dimensions(), shape);
    require_shape("v", v.dimensions(), shape);
    if (shape[0] < 1 || shape[1] < 1 || shape[3] < 1)
        throw ShapeError("q has shape " + shape_text(shape) +
                         ", expected batch, heads and head_dim of at least 1");
    const Share share = agree_on_share(
        ring, options.num_chunks, options.layout, shape[2],
        {{"batch", shape[0]}, {"heads", shape[1]}, {"head_dim", shape[3]}, {"causal", options.causal}});
    return {share, {shape[0], shape[1], shape[3]}, {options.causal}};
}

/// A tensor [batch, heads, tokens of the rank] or [..., head_dim], seen seat by seat: where it lies if the
/// tokens of a seat are neighbours in it, else in a copy.
template <class T>
class SeatedTensor {
  public:
    using Number = std::remove_const_t<T>;

    SeatedTensor(T* numbers, Index width, const OperatorPlan& plan)
        : plan_(plan), all_(HeadsView<T>::head_by_head(numbers, plan.shape, plan.share.num_tokens(), width)) {
        const bool in_place =
            plan.share.layout().layout() == Layout::contiguous || plan.share.num_seats() < 2;
        if (!in_place) copy_.resize(plan.shape.batch_heads() * plan.share.num_tokens() * width);
        seats_.reserve(std::size_t(plan.share.num_seats()));
        for (Index seat = 0; seat < plan.share.num_seats(); ++seat) {
            const Index before = plan.share.tokens_before(seat), count = plan.share.tokens(seat).count;
            seats_.push_back(in_place ? all_.middle_tokens(before, count)
                                      : HeadsView<T>::head_by_head(
                                            copy_.data() + plan.shape.batch_heads() * before * width,
                                            plan.shape, count, width));
        }
        if (!in_place) enter();
    }

    const SeatHeads<T>& seats() const { return seats_; }

    /// Brings what was written to the seats to the tensor.
    void leave() const {
        if (copy_.size() > 0)
            for_each_row(
                [](T* in_tensor, T* at_seat, Index width) { std::copy_n(at_seat, width, in_tensor); });
    }

  private:
    void enter() {
        for_each_row([&](T* in_tensor, T* at_seat, Index width) {
            std::copy_n(in_tensor, width, copy_.data() + (at_seat - copy_.data()));
        });
    }

    void for_each_row(auto&& f) const {
        for (Index seat = 0; seat < plan_.share.num_seats(); ++seat) {
            const TokenPositions places = plan_.share.places(seat);
            parallel_for(plan_.shape.batch_heads(), [&](Index head) {
                const auto tensor = all_(head), at_seat = seats_[std::size_t(seat)](head);
                for (Index i = 0; i < places.count; ++i)
                    f(&tensor(places.position(i), 0), &at_seat(i, 0), all_.width);
            });
        }
    }

    const OperatorPlan& plan_;
    HeadsView<T> all_;
    RowVector<Number> copy_;
    SeatHeads<T> seats_;
};

template <class T, int rank>
SeatedTensor<const T> seated(const Tensor<T, rank>& tensor, const OperatorPlan& plan) {
    return {tensor.data(), rank == 4 ? tensor.dimensions().back() : 1, plan};
}
template <class T, int rank>
SeatedTensor<T> seated(Tensor<T, rank>& tensor, const OperatorPlan& plan) {
    return {tensor.data(), rank == 4 ? tensor.dimensions().back() : 1, plan};
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
KeyValueMessage<T> message_of(const KeyValues<const T>& key_value, const OperatorPlan& plan) {
    if (plan.share.ranks() == 1) return {};
    KeyValueMessage<T> travellers(plan.share, plan.shape);
    const KeyValues<T> copies = travellers.views();
    const auto copy_rows = [](MatrixView<const T> rows, MatrixView<T> copy) {
        for (Index i = 0; i < rows.rows; ++i) std::copy_n(&rows(i, 0), rows.cols, &copy(i, 0));
    };
    for (std::size_t seat = 0; seat < key_value.size(); ++seat)
        parallel_for(plan.shape.batch_heads(), [&](Index head) {
            copy_rows(key_value[seat].key(head), copies[seat].key(head));
            copy_rows(key_value[seat].value(head), copies[seat].value(head));
        });
    return travellers;
}

}  // namespace detail

/// Exact attention softmax(q k^T / sqrt(head_dim)) v by a ring of options.num_chunks seats (Liu, Zaharia,
/// Abbeel 2023, arXiv 2310.01889). q, k, v: [batch, heads, seq_len, head_dim]; on several ranks, the tokens
/// of this rank's Share. It and its gradients are exact up to scores of 1e9 in size in float, 1e17 in double,
/// as the products q k^T are. Throws ShapeError where shapes or num_chunks do not fit, RingError where there
/// are more ranks than seats.
template <class T, Ring R>
AttentionResult<T> attention(const Tensor<T, 4>& q, const Tensor<T, 4>& k, const Tensor<T, 4>& v,
                             const AttentionOptions& options, R& ring) {
    const detail::OperatorPlan plan = detail::plan_attention(q, k, v, options, ring);
    const auto query = detail::seated(q, plan), key = detail::seated(k, plan),
               value = detail::seated(v, plan);
    const KeyValues<const T> key_value = detail::key_values(key.seats(), value.seats(), plan);
    const KeyValueMessage<T> travellers = detail::message_of<T>(key_value, plan);
    AttentionResult<T> result{Tensor<T, 4>(q.dimensions()),
                              Tensor<T, 3>(q.dimension(0), q.dimension(1), q.dimension(2)),
                              Tensor<T, 3>(q.dimension(0), q.dimension(1), q.dimension(2))};
    const List<TokenPositions> tokens = plan.tokens();
    const auto output = detail::seated(result.output, plan),
               log_sum_exp = detail::seated(result.log_sum_exp, plan),
               log_sum_exp_rest = detail::seated(result.log_sum_exp_rest, plan);
    attend<T>(ring, plan.share, plan.shape, plan.mask, {tokens, query.seats()}, key_value, travellers,
              {output.seats(), log_sum_exp.seats(), log_sum_exp_rest.seats()});
    for (const auto* tensor : {&output, &log_sum_exp, &log_sum_exp_rest}) tensor->leave();
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
    const std::array<Index, 3> a_number_a_query{q.dimension(0), q.dimension(1), q.dimension(2)};
    require_shape("result.log_sum_exp", result.log_sum_exp.dimensions(), a_number_a_query);
    const bool rest = result.log_sum_exp_rest.size() > 0;
    if (rest)
        require_shape("result.log_sum_exp_rest", result.log_sum_exp_rest.dimensions(), a_number_a_query);
    const detail::OperatorPlan plan = detail::plan_attention(q, k, v, options, ring);
    const auto zeros = [&] {
        Tensor<T, 4> tensor(q.dimensions());
        std::fill_n(tensor.data(), tensor.size(), T(0));
        return tensor;
    };
    const auto query = detail::seated(q, plan), key = detail::seated(k, plan),
               value = detail::seated(v, plan);
    const KeyValues<const T> key_value = detail::key_values(key.seats(), value.seats(), plan);
    const KeyValueMessage<T> travellers = detail::message_of<T>(key_value, plan);
    AttentionGradient<T> gradient{zeros(), zeros(), zeros()};
    const auto d_query = detail::seated(gradient.query, plan), d_key = detail::seated(gradient.key, plan),
               d_value = detail::seated(gradient.value, plan);
    attend_backward<T>(
        ring, plan.share, plan.shape, plan.mask,
        {query.seats(), detail::seated(d_output, plan).seats(), detail::seated(result.output, plan).seats(),
         detail::seated(result.log_sum_exp, plan).seats(),
         rest ? detail::seated(result.log_sum_exp_rest, plan).seats() : SeatHeads<const T>(), key_value,
         d_query.seats(), detail::key_values(d_key.seats(), d_value.seats(), plan)},
        travellers);
    for (const auto* tensor : {&d_query, &d_key, &d_value}) tensor->leave();
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

}  // namespace ring_attention::inline RING_ATTENTION_ABI
