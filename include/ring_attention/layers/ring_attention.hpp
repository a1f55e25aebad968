#pragma once

#include <ring_attention/layers/dense.hpp>
#include <ring_attention/layers/stream_pass.hpp>
#include <ring_attention/ring/attention_pass.hpp>
#include <ring_attention/ring/cached_attention.hpp>

namespace ring_attention {

/// y = out_proj(attention(qkv(x))), causal, over the whole sequence: the one layer in which tokens meet.
/// qkv holds query, key and value in this order, each viewed as [heads, head_dim].
template <class T, Index Width, Index Heads>
struct RingAttention {
    static_assert(Width % Heads == 0, "RingAttention: the number of heads must divide the width");
    using Scalar = T;
    static constexpr Index in_width = Width, out_width = Width, head_dim = Width / Heads;
    static constexpr bool streams = true;

    Dense<T, Width, 3 * Width> qkv;
    Dense<T, Width, Width> out_proj;

    static void visit(auto&& f, auto&... self) {
        f("qkv", self.qkv...);
        f("out_proj", self.out_proj...);
    }

    struct Cache {
        std::vector<typename Dense<T, Width, 3 * Width>::Cache> qkv;
        Seats<T> query;
        Travellers<T> key_value;
        SeatAttention<T> attention;
        std::vector<typename Dense<T, Width, Width>::Cache> out_proj;
    };

    Seats<T> forward(Seats<T> x, Cache* cache, const auto& pass) const {
        const HeadShape shape{pass.batch, Heads, head_dim};
        const Seats<T> projected = forward_seats(qkv, std::move(x), cache ? &cache->qkv : nullptr, pass);
        Seats<T> query(projected.size()), merged(projected.size());
        Travellers<T> key_value(pass.share, shape);
        for (Index seat = 0; seat < pass.share.num_seats(); ++seat) {
            const auto at = std::size_t(seat);
            query[at].resize(projected[at].rows() * Heads, head_dim);
            split_heads(third(projected[at], 0), view(query[at]), shape);
            split_heads(third(projected[at], 1), key_value.keys(seat), shape);
            split_heads(third(projected[at], 2), key_value.values(seat), shape);
        }
        SeatAttention<T> attention = attend(pass.ring, pass.share, shape, Mask{}, query, key_value);
        for (std::size_t seat = 0; seat < merged.size(); ++seat) {
            merged[seat].resize(projected[seat].rows(), Width);
            merge_heads(view(std::as_const(attention.output[seat])), view(merged[seat]), shape);
        }
        if (cache) {
            cache->query = std::move(query);
            cache->key_value = std::move(key_value);
            cache->attention = std::move(attention);
        }
        return forward_seats(out_proj, std::move(merged), cache ? &cache->out_proj : nullptr, pass);
    }

    /// In a stream: the next tokens' queries, and their keys and values together with all before them.
    Seats<T> forward(Seats<T> x, Cache*, const StreamPass<T>& pass) const {
        const HeadShape shape{pass.batch, Heads, head_dim};
        KeyValueCache<T>& cache = pass.memory.next_cache(shape);
        const Matrix<T> projected = qkv.forward(std::move(x[0]), nullptr);
        Matrix<T> query(projected.rows() * Heads, head_dim), key = query, value = query;
        split_heads(third(projected, 0), view(query), shape);
        split_heads(third(projected, 1), view(key), shape);
        split_heads(third(projected, 2), view(value), shape);
        cache.put(pass.share.next, key, value);
        const Matrix<T> attended = attend_to_cache(query, pass.share.next, cache);
        Matrix<T> merged(projected.rows(), Width);
        merge_heads(view(attended), view(merged), shape);
        x[0] = out_proj.forward(std::move(merged), nullptr);
        return x;
    }

    Seats<T> backward(Seats<T> d, const Cache& cache, const SeatGradients<RingAttention>& gradients,
                      const auto& pass) const {
        const HeadShape shape{pass.batch, Heads, head_dim};
        d = backward_seats(out_proj, std::move(d), cache.out_proj,
                           gradients.part([](auto& layer) -> auto& { return layer.out_proj; }), pass);
        for (Matrix<T>& seat : d) {
            Matrix<T> heads(seat.rows() * Heads, head_dim);
            split_heads(view(std::as_const(seat)), view(heads), shape);
            seat = std::move(heads);
        }
        const SeatAttentionGradient<T> gradient = attend_backward(
            pass.ring, pass.share, shape, Mask{}, cache.query, cache.key_value, cache.attention, d);
        for (Index seat = 0; seat < pass.share.num_seats(); ++seat) {
            const auto at = std::size_t(seat);
            Matrix<T> d_projected(d[at].rows() / Heads, 3 * Width);
            merge_heads(view(gradient.query[at]), third(d_projected, 0), shape);
            merge_heads(gradient.key_value.keys(seat), third(d_projected, 1), shape);
            merge_heads(gradient.key_value.values(seat), third(d_projected, 2), shape);
            d[at] = std::move(d_projected);
        }
        return backward_seats(qkv, std::move(d), cache.qkv,
                              gradients.part([](auto& layer) -> auto& { return layer.qkv; }), pass);
    }

  private:
    /// Query (0), key (1) or value (2) columns of a projected seat.
    static auto third(auto& projected, Index which) {
        return view(projected).middle_cols(which * Width, Width);
    }

    /// [batch * tokens, heads * head_dim] => [batch * heads * tokens, head_dim]
    static void split_heads(MatrixView<const T> rows, MatrixView<T> heads, const HeadShape& shape) {
        for_each_head_row(rows.rows, shape, [&](Index token_row, Index head, Index head_row) {
            std::copy_n(&rows(token_row, head * head_dim), head_dim, &heads(head_row, 0));
        });
    }

    /// The inverse of split_heads.
    static void merge_heads(MatrixView<const T> heads, MatrixView<T> rows, const HeadShape& shape) {
        for_each_head_row(rows.rows, shape, [&](Index token_row, Index head, Index head_row) {
            std::copy_n(&heads(head_row, 0), head_dim, &rows(token_row, head * head_dim));
        });
    }

    static void for_each_head_row(Index rows, const HeadShape& shape, auto&& f) {
        const Index tokens = rows / shape.batch;
        for (Index batch = 0; batch < shape.batch; ++batch)
            for (Index head = 0; head < Heads; ++head)
                for (Index token = 0; token < tokens; ++token)
                    f(batch * tokens + token, head, (batch * Heads + head) * tokens + token);
    }
};

}  // namespace ring_attention
