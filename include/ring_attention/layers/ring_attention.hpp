#pragma once

#include <algorithm>
#include <limits>
#include <span>
#include <type_traits>

#include <ring_attention/attention/backward.hpp>
#include <ring_attention/attention/cached_attention.hpp>
#include <ring_attention/attention/options.hpp>
#include <ring_attention/attention/seat_views.hpp>
#include <ring_attention/layers/dense.hpp>
#include <ring_attention/layers/stream_pass.hpp>

namespace ring_attention::inline RING_ATTENTION_ABI {

/// What a RingAttention layer is. A wrong one is a compile error in one sentence.
struct AttentionLayerOptions {
    Index width = 0;            ///< of input and output, required
    Index heads = 1;            ///< of queries
    Index key_value_heads = 0;  ///< which several query heads share; divides heads; 0: as many as heads
    Index head_width = 0;       ///< of a query, a key and a value; 0: width / heads
    bool causal = true;         ///< a token sees itself and those before it
    Index window = 0;           ///< 0: none; else a token sees those less than so many positions away
    float softcap = 0;          ///< 0: none; else score := softcap tanh(score / softcap)
    float scale = 0;            ///< of the scores; 0: 1 / sqrt(head_width)
    bool sinks = false;         ///< a parameter a head: a score more in every softmax, without a value
};

namespace detail {

/// Not negative, finite.
constexpr bool is_factor(float value) {
    return value >= 0 && value <= std::numeric_limits<float>::max();
}

/// The first rule that is broken, in one readable line; and what a 0 stands for.
template <AttentionLayerOptions o>
struct CheckedAttention {
    static constexpr bool counts = o.width > 0 && o.heads > 0 && o.key_value_heads >= 0 && o.head_width >= 0;
    static_assert(o.width > 0, "RingAttention: width is required and must be positive");
    static_assert(o.heads > 0, "RingAttention: heads must be positive");
    static_assert(o.key_value_heads >= 0, "RingAttention: key_value_heads must not be negative");
    static_assert(!counts || o.heads % (o.key_value_heads > 0 ? o.key_value_heads : 1) == 0,
                  "RingAttention: key_value_heads must divide heads");
    static_assert(o.head_width >= 0, "RingAttention: head_width must not be negative");
    static_assert(!counts || o.head_width > 0 || o.width % (counts ? o.heads : 1) == 0,
                  "RingAttention: heads must divide width where head_width is not given");
    static_assert(o.window >= 0, "RingAttention: window must not be negative");
    static_assert(is_factor(o.softcap), "RingAttention: softcap must be finite and not negative");
    static_assert(is_factor(o.scale), "RingAttention: scale must be finite and not negative");

    static constexpr Index heads = counts ? o.heads : 1;
    static constexpr Index key_value_heads = counts && o.key_value_heads > 0 ? o.key_value_heads : heads;
    static constexpr Index head_width = !counts            ? 1
                                        : o.head_width > 0 ? o.head_width
                                                           : std::max<Index>(1, o.width / heads);
    static constexpr Index width = counts ? o.width : 1;
};

}  // namespace detail

/// y = out_proj(attention(qkv(x))) over the whole sequence: the one layer in which tokens meet. qkv holds
/// query [heads, head_width], key and value [key_value_heads, head_width], in this order.
template <class T, AttentionLayerOptions options>
struct RingAttention {
    using Checked = detail::CheckedAttention<options>;
    using Scalar = T;
    static constexpr Index in_width = Checked::width, out_width = Checked::width, heads = Checked::heads,
                           key_value_heads = Checked::key_value_heads, head_width = Checked::head_width,
                           query_width = heads * head_width, key_value_width = key_value_heads * head_width,
                           qkv_width = query_width + 2 * key_value_width;
    static constexpr bool streams = options.causal;

    Dense<T, in_width, qkv_width> qkv;
    Dense<T, query_width, out_width> out_proj;
    RowVector<T> sinks = RowVector<T>::Zero(options.sinks ? heads : 0);

    static void visit(auto&& f, auto&... self) {
        f("qkv", self.qkv...);
        f("out_proj", self.out_proj...);
        if constexpr (options.sinks) f("sinks", self.sinks...);
    }

    struct Cache {
        typename Dense<T, in_width, qkv_width>::Cache qkv;
        Matrix<T> query;  // [tokens, query_width]
        KeyValueMessage<T> key_value;
        RowVector<T> log_sum_exp, log_sum_exp_rest;  // [batch, heads, tokens] a seat
        typename Dense<T, query_width, out_width>::Cache out_proj;
    };

    Matrix<T> forward(Matrix<T> x, Cache* cache, const auto& pass) const {
        return out_proj.forward(mix(std::move(x), cache, pass), cache ? &cache->out_proj : nullptr);
    }

    /// Attention without out_proj.
    Matrix<T> mix(Matrix<T> x, Cache* cache, const auto& pass) const {
        const AttentionPlan plan = plan_for(pass.share, pass.batch, pass.sequences);
        KeyValueMessage<T> key_value(plan.keys, plan.heads);
        Matrix<T> query = project(x, pass, key_value.views()), merged(query.rows(), query_width);
        RowVector<T> log_sum_exp(query.rows() * heads), log_sum_exp_rest(query.rows() * heads);
        const List<TokenPositions> tokens = asking_tokens(pass);
        attend<T>(pass.ring, plan, {tokens, heads_of(std::as_const(query).data(), tokens, pass), terms()},
                  std::as_const(key_value).views(), std::as_const(key_value),
                  {heads_of(merged.data(), tokens, pass),
                   head_by_head(log_sum_exp.data(), tokens, pass.batch, heads, 1),
                   head_by_head(log_sum_exp_rest.data(), tokens, pass.batch, heads, 1)});
        if (cache) {
            cache->qkv.input = std::move(x);
            cache->query = std::move(query);
            cache->key_value = std::move(key_value);
            cache->log_sum_exp = std::move(log_sum_exp);
            cache->log_sum_exp_rest = std::move(log_sum_exp_rest);
        }
        return merged;
    }

    /// In a stream: the next tokens' queries, and their keys and values together with those before them.
    Matrix<T> mix(Matrix<T> x, Cache*, const StreamPass<T>& pass) const {
        const TokenPositions& next = pass.share.next;
        const Share so_far(ChunkLayout(next.first + next.count, 1), 0, 1);
        const AttentionPlan plan = plan_for(so_far, pass.batch, nullptr);
        KeyValueCache<T>& cache = pass.memory.next_cache(plan.heads, options.window, next);
        const Matrix<T> query = project(x, pass, {cache.at(next)});
        Matrix<T> merged(query.rows(), query_width);
        const List<TokenPositions> tokens = asking_tokens(pass);
        attend_to_cache<T>(plan, terms(), heads_of(query.data(), tokens, pass)[0], tokens[0],
                           cache.up_to(next), heads_of(merged.data(), tokens, pass)[0]);
        return merged;
    }

    Matrix<T> backward(Matrix<T> d, const Cache& cache, const SeatGradients<RingAttention>& gradients,
                       const auto& pass) const {
        const AttentionPlan plan = plan_for(pass.share, pass.batch, pass.sequences);
        const List<TokenPositions> tokens = query_tokens(plan);
        d = out_proj.backward(std::move(d), cache.out_proj,
                              gradients.part([](auto& layer) -> auto& { return layer.out_proj; }));
        Matrix<T> d_projected(d.rows(), qkv_width);
        parallel_rows(d.rows(), [&](Index row) { d_projected.row(row).setZero(); });
        const auto part = [&](Index first, Index num_heads) {
            return token_by_token(d_projected.data() + first, tokens, pass.batch, num_heads, head_width,
                                  qkv_width);
        };
        Matrix<T> d_sinks = Matrix<T>::Zero(options.sinks ? pass.share.num_seats() : 0, heads);  // a seat's
        List<std::span<T>> d_sinks_at_seats;
        for (Index seat = 0; seat < d_sinks.rows(); ++seat)
            d_sinks_at_seats.emplace_back(d_sinks.row(seat).data(), std::size_t(heads));
        attend_backward<T>(pass.ring, plan,
                           {{tokens, heads_of(cache.query.data(), tokens, pass), terms()},
                            heads_of(std::as_const(d).data(), tokens, pass),
                            heads_of(cache.out_proj.input.data(), tokens, pass),
                            head_by_head(cache.log_sum_exp.data(), tokens, pass.batch, heads, 1),
                            head_by_head(cache.log_sum_exp_rest.data(), tokens, pass.batch, heads, 1),
                            cache.key_value.views(),
                            part(0, heads),
                            key_values(plan.keys, part(query_width, key_value_heads),
                                       part(query_width + key_value_width, key_value_heads)),
                            {},
                            d_sinks_at_seats},
                           cache.key_value);
        if constexpr (options.sinks) {
            Index seat = 0;
            gradients.part([](auto& layer) -> auto& { return layer.sinks; })
                .for_each([&](RowVector<T>& gradient, IndexRange) { gradient += d_sinks.row(seat++); });
        }
        return qkv.backward(std::move(d_projected), cache.qkv,
                            gradients.part([](auto& layer) -> auto& { return layer.qkv; }));
    }

  private:
    static AttentionPlan plan_for(const Share& share, Index batch, const Sequences* sequences) {
        AttentionOptions of_layer{.causal = options.causal,
                                  .window = options.window,
                                  .scale = double(options.scale),
                                  .softcap = double(options.softcap)};
        if (sequences) {
            of_layer.document_starts = sequences->document_starts;
            of_layer.lengths = sequences->lengths;
        }
        return plan_of<T>(of_layer, share, share, {batch, heads, key_value_heads, head_width, head_width});
    }

    ScoreTerms<T> terms() const {
        ScoreTerms<T> terms;
        if constexpr (options.sinks) terms.sinks = sinks.data();
        return terms;
    }

    /// Queries [tokens, query_width], of all tokens or of the last; keys and values go where attention reads
    /// them.
    Matrix<T> project(const Matrix<T>& x, const auto& pass, const KeyValues<T>& key_value) const {
        const List<IndexRange> seats = rows_of_seats(pass.share, pass.batch);
        const auto write = [&](Index row, Index col, std::span<const T> numbers) {
            const auto seat =
                std::size_t(std::upper_bound(seats.begin(), seats.end(), row,
                                             [](Index r, const IndexRange& run) { return r < run.end(); }) -
                            seats.begin());
            for (std::size_t done = 0, count; done < numbers.size(); done += count, col += Index(count)) {
                const bool is_key = col < key_value_width;
                count = std::min(numbers.size() - done, std::size_t(head_width - col % head_width));
                std::copy_n(numbers.data() + done, count,
                            piece(is_key ? key_value[seat].key : key_value[seat].value,
                                  row - seats[seat].first, is_key ? col : col - key_value_width));
            }
        };
        if (pass.last_token_only) {
            Matrix<T> last = pass.last_rows(x), query(last.rows(), query_width),
                      scratch(x.rows(), 2 * key_value_width);
            qkv.apply(last, {0, query_width}, view(query), [](Index, Index, std::span<const T>) {});
            qkv.apply(x, {query_width, 2 * key_value_width}, view(scratch), write);
            return query;
        }
        Matrix<T> query(x.rows(), query_width), scratch(x.rows(), qkv_width);
        qkv.apply(x, {0, qkv_width}, view(scratch), [&](Index row, Index col, std::span<const T> numbers) {
            const auto to_query = std::size_t(std::clamp<Index>(query_width - col, 0, Index(numbers.size())));
            std::copy_n(numbers.data(), to_query, &query(row, 0) + col);
            if (to_query < numbers.size())
                write(row, col + Index(to_query) - query_width, numbers.subspan(to_query));
        });
        return query;
    }

    /// Row number batch * tokens + token of a seat, from column `col` of [batch * tokens, key_value_width]
    /// on, up to the end of the head.
    static T* piece(const HeadsView<T>& heads_of_seat, Index row, Index col) {
        return &heads_of_seat(row / heads_of_seat.tokens * key_value_heads + col / head_width)(
            row % heads_of_seat.tokens, col % head_width);
    }

    /// The tokens that ask, at each seat.
    static List<TokenPositions> asking_tokens(const auto& pass) {
        List<TokenPositions> tokens;
        tokens.reserve(std::size_t(pass.share.num_seats()));
        for (Index seat = 0; seat < pass.share.num_seats(); ++seat) {
            const TokenPositions all = pass.share.tokens(seat);
            const Index count = !pass.last_token_only ? all.count : pass.share.has_last_token(seat) ? 1 : 0;
            tokens.push_back(all.middle(all.count - count, count));
        }
        return tokens;
    }

    /// Rows [tokens, query_width] seen as heads.
    template <class Number>
    static SeatHeads<Number> heads_of(Number* rows, const List<TokenPositions>& tokens, const auto& pass) {
        return token_by_token(rows, tokens, pass.batch, heads, head_width, query_width);
    }
};

}  // namespace ring_attention::inline RING_ATTENTION_ABI
