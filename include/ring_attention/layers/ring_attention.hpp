#pragma once

#include <algorithm>
#include <type_traits>

#include <ring_attention/attention/backward.hpp>
#include <ring_attention/attention/cached_attention.hpp>
#include <ring_attention/layers/dense.hpp>
#include <ring_attention/layers/stream_pass.hpp>

namespace ring_attention::inline RING_ATTENTION_ABI {

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
        typename Dense<T, Width, 3 * Width>::Cache qkv;
        Matrix<T> query;  // [tokens, Width]
        KeyValueMessage<T> key_value;
        RowVector<T> log_sum_exp, log_sum_exp_rest;  // [batch, heads, tokens] a seat
        typename Dense<T, Width, Width>::Cache out_proj;
    };

    Matrix<T> forward(Matrix<T> x, Cache* cache, const auto& pass) const {
        return out_proj.forward(mix(std::move(x), cache, pass), cache ? &cache->out_proj : nullptr);
    }

    /// Attention without out_proj.
    Matrix<T> mix(Matrix<T> x, Cache* cache, const auto& pass) const {
        const HeadShape shape{pass.batch, Heads, head_dim};
        KeyValueMessage<T> key_value(pass.share, shape);
        Matrix<T> query = project(x, pass, key_value.views()), merged(query.rows(), Width);
        RowVector<T> log_sum_exp(query.rows() * Heads), log_sum_exp_rest(cache ? log_sum_exp.size() : 0);
        const List<TokenPositions> tokens = query_tokens(pass);
        attend<T>(
            pass.ring, pass.share, shape, Mask{},
            {tokens, heads_of(std::as_const(query).data(), tokens, shape, Width)},
            std::as_const(key_value).views(), std::as_const(key_value),
            {heads_of(merged.data(), tokens, shape, Width), columns_of(log_sum_exp.data(), tokens, shape),
             cache ? columns_of(log_sum_exp_rest.data(), tokens, shape) : SeatHeads<T>()});
        if (cache) {
            cache->qkv.input = std::move(x);
            cache->query = std::move(query);
            cache->key_value = std::move(key_value);
            cache->log_sum_exp = std::move(log_sum_exp);
            cache->log_sum_exp_rest = std::move(log_sum_exp_rest);
        }
        return merged;
    }

    /// In a stream: the next tokens' queries, and their keys and values together with all before them.
    Matrix<T> mix(Matrix<T> x, Cache*, const StreamPass<T>& pass) const {
        const HeadShape shape{pass.batch, Heads, head_dim};
        KeyValueCache<T>& cache = pass.memory.next_cache(shape);
        const Matrix<T> query = project(x, pass, {cache.at(pass.share.next)});
        Matrix<T> merged(query.rows(), Width);
        const List<TokenPositions> tokens = query_tokens(pass);
        attend_to_cache<T>(heads_of(query.data(), tokens, shape, Width)[0], tokens[0],
                           cache.up_to(pass.share.next), heads_of(merged.data(), tokens, shape, Width)[0],
                           shape);
        return merged;
    }

    Matrix<T> backward(Matrix<T> d, const Cache& cache, const SeatGradients<RingAttention>& gradients,
                       const auto& pass) const {
        const HeadShape shape{pass.batch, Heads, head_dim};
        const List<TokenPositions> tokens = query_tokens(pass);
        d = out_proj.backward(std::move(d), cache.out_proj,
                              gradients.part([](auto& layer) -> auto& { return layer.out_proj; }));
        Matrix<T> d_projected(d.rows(), 3 * Width);
        parallel_rows(d.rows(), [&](Index row) { d_projected.row(row).setZero(); });
        const auto third = [&](Index i) {
            return heads_of(d_projected.data() + i * Width, tokens, shape, 3 * Width);
        };
        const SeatHeads<T> d_key = third(1), d_value = third(2);
        KeyValues<T> d_key_value;
        d_key_value.reserve(tokens.size());
        for (std::size_t seat = 0; seat < tokens.size(); ++seat)
            d_key_value.push_back({tokens[seat], d_key[seat], d_value[seat]});
        attend_backward<T>(pass.ring, pass.share, shape, Mask{},
                           {heads_of(cache.query.data(), tokens, shape, Width),
                            heads_of(std::as_const(d).data(), tokens, shape, Width),
                            heads_of(cache.out_proj.input.data(), tokens, shape, Width),
                            columns_of(cache.log_sum_exp.data(), tokens, shape),
                            columns_of(cache.log_sum_exp_rest.data(), tokens, shape), cache.key_value.views(),
                            third(0), d_key_value},
                           cache.key_value);
        return qkv.backward(std::move(d_projected), cache.qkv,
                            gradients.part([](auto& layer) -> auto& { return layer.qkv; }));
    }

  private:
    /// Queries [tokens, Width], of all tokens or of the last; keys and values go where attention reads them.
    Matrix<T> project(const Matrix<T>& x, const auto& pass, const KeyValues<T>& key_value) const {
        List<IndexRange> seats;
        seats.reserve(std::size_t(pass.share.num_seats()));
        for (Index seat = 0; seat < pass.share.num_seats(); ++seat)
            seats.push_back(rows_of_seat(pass.share, pass.batch, seat));
        const auto write = [&](Index row, Index col, std::span<const T> numbers) {
            const auto seat =
                std::size_t(std::upper_bound(seats.begin(), seats.end(), row,
                                             [](Index r, const IndexRange& run) { return r < run.end(); }) -
                            seats.begin());
            for (std::size_t done = 0, count; done < numbers.size(); done += count, col += Index(count)) {
                const HeadsView<T>& heads = col < Width ? key_value[seat].key : key_value[seat].value;
                count = std::min(numbers.size() - done, std::size_t(head_dim - col % head_dim));
                std::copy_n(numbers.data() + done, count, piece(heads, row - seats[seat].first, col % Width));
            }
        };
        if (pass.last_token_only) {
            Matrix<T> last = pass.last_rows(x), query(last.rows(), Width), scratch(x.rows(), 2 * Width);
            qkv.apply(last, {0, Width}, view(query), [](Index, Index, std::span<const T>) {});
            qkv.apply(x, {Width, 2 * Width}, view(scratch), write);
            return query;
        }
        Matrix<T> query(x.rows(), Width), scratch(x.rows(), 3 * Width);
        qkv.apply(x, {0, 3 * Width}, view(scratch), [&](Index row, Index col, std::span<const T> numbers) {
            const auto to_query = std::size_t(std::clamp<Index>(Width - col, 0, Index(numbers.size())));
            std::copy_n(numbers.data(), to_query, &query(row, 0) + col);
            if (to_query < numbers.size())
                write(row, col + Index(to_query) - Width, numbers.subspan(to_query));
        });
        return query;
    }

    /// Row number batch * tokens + token of a seat, from column `col` of [batch * tokens, Width] on, up to
    /// the end of the head.
    static T* piece(const HeadsView<T>& heads, Index row, Index col) {
        return &heads(row / heads.tokens * Heads + col / head_dim)(row % heads.tokens, col % head_dim);
    }

    /// The tokens that ask, at each seat.
    static List<TokenPositions> query_tokens(const auto& pass) {
        List<TokenPositions> tokens;
        tokens.reserve(std::size_t(pass.share.num_seats()));
        for (Index seat = 0; seat < pass.share.num_seats(); ++seat) {
            const TokenPositions all = pass.share.tokens(seat);
            const Index count = !pass.last_token_only ? all.count : pass.share.has_last_token(seat) ? 1 : 0;
            tokens.push_back(all.middle(all.count - count, count));
        }
        return tokens;
    }

    /// Rows [tokens, Width] seen as heads, a seat after the other.
    template <class Number>
    static SeatHeads<Number> heads_of(Number* rows, const List<TokenPositions>& tokens,
                                      const HeadShape& shape, Index row_stride) {
        SeatHeads<Number> heads;
        heads.reserve(tokens.size());
        for (const TokenPositions& seat : tokens) {
            heads.push_back(HeadsView<Number>::token_by_token(rows, shape, seat.count, row_stride));
            rows += shape.batch * seat.count * row_stride;
        }
        return heads;
    }

    /// A number a query: [batch, heads, tokens] a seat.
    template <class Number>
    static SeatHeads<Number> columns_of(Number* numbers, const List<TokenPositions>& tokens,
                                        const HeadShape& shape) {
        SeatHeads<Number> columns;
        columns.reserve(tokens.size());
        for (const TokenPositions& seat : tokens) {
            columns.push_back(HeadsView<Number>::head_by_head(numbers, shape, seat.count, 1));
            numbers += shape.batch_heads() * seat.count;
        }
        return columns;
    }
};

}  // namespace ring_attention::inline RING_ATTENTION_ABI
