#pragma once

#include <ring_attention/layers/dense.hpp>
#include <ring_attention/ring/attention_pass_backward.hpp>

namespace ring_attention {

/// y = out_proj(attention(qkv(x))), causal, over the whole sequence: the one layer in which tokens meet.
/// qkv holds query, key and value in this order, each viewed as [heads, head_dim].
template <class T, Index Width, Index Heads>
struct RingAttention {
    static_assert(Width % Heads == 0, "RingAttention: the number of heads must divide the width");
    using Scalar = T;
    static constexpr Index in_width = Width, out_width = Width, head_dim = Width / Heads;

    Dense<T, Width, 3 * Width> qkv;
    Dense<T, Width, Width> out_proj;

    static void visit(auto&& f, auto&... self) {
        f("qkv", self.qkv...);
        f("out_proj", self.out_proj...);
    }

    struct Cache {
        std::vector<typename Dense<T, Width, 3 * Width>::Cache> qkv;
        Seats<T> query;  // [batch * tokens, Width] a seat
        Travellers<T> key_value;
        Seats<T> log_sum_exp;  // [batch * heads, tokens] a seat
        std::vector<typename Dense<T, Width, Width>::Cache> out_proj;
    };

    Seats<T> forward(Seats<T> x, Cache* cache, const auto& pass) const {
        const HeadShape shape{pass.batch, Heads, head_dim};
        Seats<T> query, merged, log_sum_exp;
        Travellers<T> key_value(pass.share, shape);
        for (Index seat = 0; seat < pass.share.num_seats(); ++seat) {
            const auto at = std::size_t(seat);
            const Index rows = x[at].rows();
            Matrix<T>& seat_query = query.emplace_back(rows, Width);
            if (cache) cache->qkv.resize(x.size());
            project(std::move(x[at]), seat_query, key_value[seat], cache ? &cache->qkv[at] : nullptr);
            merged.emplace_back(rows, Width);
            log_sum_exp.emplace_back(shape.batch_heads(), rows / shape.batch);
        }
        attend<T>(pass.ring, pass.share, shape, Mask{}, heads_of(std::as_const(query), shape),
                  std::as_const(key_value).views(), std::as_const(key_value).bytes(),
                  {heads_of(merged, shape), columns_of(log_sum_exp, shape)});
        if (cache) {
            cache->query = std::move(query);
            cache->key_value = std::move(key_value);
            cache->log_sum_exp = std::move(log_sum_exp);
        }
        return forward_seats(out_proj, std::move(merged), cache ? &cache->out_proj : nullptr, pass);
    }

    Seats<T> backward(Seats<T> d, const Cache& cache, const SeatGradients<RingAttention>& gradients,
                      const auto& pass) const {
        const HeadShape shape{pass.batch, Heads, head_dim};
        d = backward_seats(out_proj, std::move(d), cache.out_proj,
                           gradients.part([](auto& layer) -> auto& { return layer.out_proj; }), pass);
        Travellers<T> d_key_value(pass.share, shape);
        d_key_value.set_zero();
        Seats<T> d_projected;
        SeatHeads<const T> output;
        SeatHeads<T> d_query;
        for (std::size_t seat = 0; seat < d.size(); ++seat) {
            Matrix<T>& rows = d_projected.emplace_back(d[seat].rows(), 3 * Width);
            parallel_rows(rows.rows(), [&](Index row) { rows.row(row).head(Width).setZero(); });
            d_query.push_back(
                HeadsView<T>::token_by_token(rows.data(), shape, rows.rows() / shape.batch, 3 * Width));
            output.push_back(heads_of_seat(cache.out_proj[seat].input, shape));
        }
        attend_backward<T>(
            pass.ring, pass.share, shape, Mask{},
            {heads_of(cache.query, shape), heads_of(std::as_const(d), shape), output,
             columns_of(cache.log_sum_exp, shape), cache.key_value.views(), d_query, d_key_value.views()},
            cache.key_value.bytes());
        for (Index seat = 0; seat < pass.share.num_seats(); ++seat) {
            Matrix<T>& rows = d_projected[std::size_t(seat)];
            const KeyValueView<const T> gradient = std::as_const(d_key_value)[seat];
            parallel_rows(rows.rows(), [&](Index row) {
                copy_row(gradient.key, row, rows.row(row).data() + Width, from_heads);
                copy_row(gradient.value, row, rows.row(row).data() + 2 * Width, from_heads);
            });
        }
        return backward_seats(qkv, std::move(d_projected), cache.qkv,
                              gradients.part([](auto& layer) -> auto& { return layer.qkv; }), pass);
    }

  private:
    /// x [batch * tokens, Width] => queries as they are, keys and values head by head, for attention to read.
    void project(Matrix<T> x, Matrix<T>& query, const KeyValueView<T>& key_value,
                 typename Dense<T, Width, 3 * Width>::Cache* cache) const {
        const Matrix<T> projected = qkv.forward(std::move(x), cache);
        parallel_rows(projected.rows(), [&](Index row) {
            const T* const numbers = projected.row(row).data();
            query.row(row) = projected.row(row).head(Width);
            copy_row(key_value.key, row, numbers + Width, to_heads);
            copy_row(key_value.value, row, numbers + 2 * Width, to_heads);
        });
    }

    static constexpr auto to_heads = [](auto* in_head, auto* in_row) {
        std::copy_n(in_row, head_dim, in_head);
    };
    static constexpr auto from_heads = [](auto* in_head, auto* in_row) {
        std::copy_n(in_head, head_dim, in_row);
    };

    /// Row number batch * tokens + token of [batch * tokens, Width]: its part of each head.
    static void copy_row(const auto& heads, Index row, auto* numbers, auto&& copy) {
        const Index batch = row / heads.tokens, token = row % heads.tokens;
        for (Index head = 0; head < Heads; ++head)
            copy(&heads(batch * Heads + head)(token, 0), numbers + head * head_dim);
    }

    /// [batch * tokens, Width] seen as heads.
    static auto heads_of_seat(auto& rows, const HeadShape& shape) {
        using Number = std::remove_pointer_t<decltype(rows.data())>;
        return HeadsView<Number>::token_by_token(rows.data(), shape, rows.rows() / shape.batch, Width);
    }
    static auto heads_of(auto& seats, const HeadShape& shape) {
        List<decltype(heads_of_seat(seats[0], shape))> heads;
        for (auto& rows : seats) heads.push_back(heads_of_seat(rows, shape));
        return heads;
    }

    /// [batch * heads, tokens] seen as a column a head.
    static auto columns_of(auto& seats, const HeadShape& shape) {
        using Number = std::remove_pointer_t<decltype(seats[0].data())>;
        SeatHeads<Number> columns;
        for (auto& rows : seats)
            columns.push_back(HeadsView<Number>::head_by_head(rows.data(), shape, rows.cols(), 1));
        return columns;
    }
};

}  // namespace ring_attention
