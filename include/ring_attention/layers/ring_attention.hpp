#pragma once

#include <algorithm>
#include <span>
#include <utility>

#include <ring_attention/attention/backward.hpp>
#include <ring_attention/attention/options.hpp>
#include <ring_attention/attention/seat_attention.hpp>
#include <ring_attention/attention/seat_views.hpp>
#include <ring_attention/layers/dense.hpp>
#include <ring_attention/layers/query_key_heads.hpp>
#include <ring_attention/layers/stream_pass.hpp>

namespace ring_attention::inline RING_ATTENTION_ABI {

/// y = out_proj(attention(qkv(x))) over the whole sequence: the one layer in which tokens meet. qkv holds
/// query [heads, head_width], key and value [key_value_heads, head_width], in this order. Queries and keys
/// may be normalised and turned by their positions before they meet.
template <class T, AttentionLayerOptions given_options>
struct RingAttention {
    /// A copy: read at run time, clang++ 14 finds members of a template argument in wrong places, where the
    /// struct has holes and ends in one.
    static constexpr AttentionLayerOptions options = given_options;
    using Checked = detail::CheckedAttention<options>;
    using Scalar = T;
    static constexpr Index in_width = Checked::width, out_width = Checked::width, heads = Checked::heads,
                           key_value_heads = Checked::key_value_heads, head_width = Checked::head_width,
                           query_width = heads * head_width, key_value_width = key_value_heads * head_width,
                           qkv_width = query_width + 2 * key_value_width;
    static constexpr bool streams = options.causal, adds_forward = true;

    using Projection = Dense<T, in_width, qkv_width, options.qkv_bias, options.weights>;
    using OutProjection = Dense<T, query_width, out_width, options.out_bias, options.weights>;
    using QueryKey = detail::QueryKeyHeads<T, options>;

    Projection qkv;
    typename QueryKey::Norm q_norm, k_norm;
    OutProjection out_proj;
    RowVector<T> sinks = RowVector<T>::Zero(options.sinks ? heads : 0);

    /// As in the options, but layers of one type may have others. Not a parameter.
    Index window = options.window;

    static void visit(auto&& f, auto&... self) {
        f("qkv", self.qkv...);
        if constexpr (options.query_key_norm) {
            f("q_norm", self.q_norm...);
            f("k_norm", self.k_norm...);
        }
        f("out_proj", self.out_proj...);
        if constexpr (options.sinks) f("sinks", self.sinks...);
    }

    struct Cache {
        typename Projection::Cache qkv;
        Matrix<T> query;               // [tokens, query_width], and with the keys of key_value:
        KeyValueMessage<T> key_value;  // as attention takes and stores them; with a norm, as qkv gives them
        RowVector<T> log_sum_exp, log_sum_exp_rest;  // [batch, heads, tokens] a seat
        typename OutProjection::Cache out_proj;
    };

    Matrix<T> forward(Matrix<T> x, Cache* cache, const auto& pass) const {
        return out_proj.forward(mix(std::move(x), cache, pass), cache ? &cache->out_proj : nullptr);
    }

    /// sums (tokens, out_width) += the output. Where the pass asks for the last token alone, the sums become
    /// their last rows first.
    void add_forward(Matrix<T> x, Cache* cache, const auto& pass, Matrix<T>& sums) const {
        Matrix<T> mixed = mix(std::move(x), cache, pass);
        if (pass.last_token_only) sums = pass.last_rows(sums);
        out_proj.add_forward(std::move(mixed), cache ? &cache->out_proj : nullptr, detail::view(sums));
    }

    /// Attention without out_proj.
    Matrix<T> mix(Matrix<T> x, Cache* cache, const auto& pass) const {
        const AttentionPlan plan = plan_for(pass.share, pass.batch, pass.sequences);
        KeyValueMessage<T> key_value(plan.keys, plan.heads);
        Matrix<T> query = project(x, pass, key_value.views()), merged(query.rows(), query_width);
        RowVector<T> log_sum_exp(query.rows() * heads), log_sum_exp_rest(query.rows() * heads);
        const List<TokenPositions> tokens = asking_tokens(pass);
        if (options.query_key_norm && cache) {
            cache->query = query;
            cache->key_value = key_value;
        }
        place(query, tokens, key_value.views(), pass);
        key_value = stored(std::move(key_value), plan);
        attend<T>(pass.ring, plan, {tokens, heads_of(std::as_const(query).data(), tokens, pass), terms()},
                  std::as_const(key_value).views(), std::as_const(key_value),
                  {heads_of(merged.data(), tokens, pass),
                   head_by_head(log_sum_exp.data(), tokens, pass.batch, heads, 1),
                   head_by_head(log_sum_exp_rest.data(), tokens, pass.batch, heads, 1)});
        if (pass.stream_memory)
            pass.stream_memory.template of<T>().start_next(pass.ring, pass.share, plan.heads, window,
                                                           key_value);
        if (cache) {
            cache->qkv.input = std::move(x);
            if constexpr (!options.query_key_norm) {
                cache->query = std::move(query);
                cache->key_value = std::move(key_value);
            }
            cache->log_sum_exp = std::move(log_sum_exp);
            cache->log_sum_exp_rest = std::move(log_sum_exp_rest);
        }
        return merged;
    }

    /// In a stream: the next tokens' queries, and their keys and values together with those before them.
    /// These are written where they are kept, unless that is rounded, or at several seats.
    Matrix<T> mix(Matrix<T> x, Cache*, const StreamPass<T>& pass) const {
        const TokenPositions& next = pass.share.next;
        const IndexRange positions{next.first, next.count};
        const Share so_far(ChunkLayout(positions.end(), 1), 0, 1);
        const AttentionPlan plan = plan_for(so_far, pass.batch, nullptr);
        const StreamLayout& layout = pass.memory.layout();
        SeatCaches<T>& caches = pass.memory.next_caches(plan.heads, window, plan.storage, next);
        const bool apart = plan.storage != Storage::computing || layout.num_seats() > 1;
        const Index rows_of_heads = apart ? pass.batch * key_value_heads * next.count : 0;
        Matrix<T> numbers(2 * rows_of_heads, head_width);  // keys, then values
        const auto heads_from = [&](Index row) {
            return HeadsView<T>::head_by_head(numbers.data() + row * head_width, key_value_heads, next.count,
                                              head_width);
        };
        const KeyValues<T> key_value = apart ? KeyValues<T>{{next, heads_from(0), heads_from(rows_of_heads)}}
                                             : caches.at(layout, 0, positions);
        Matrix<T> query = project(x, pass, key_value), merged(query.rows(), query_width);
        const List<TokenPositions> tokens = asking_tokens(pass);
        place(query, tokens, key_value, pass);
        for (Index seat = 0; apart && seat < caches.seats().count; ++seat)
            caches.keep(layout, seat, positions, key_value[0]);
        attend_to_seats<T>(pass.ring, plan, terms(), heads_of(std::as_const(query).data(), tokens, pass)[0],
                           tokens[0], layout, caches, heads_of(merged.data(), tokens, pass)[0]);
        return merged;
    }

    Matrix<T> backward(Matrix<T> d, const Cache& cache, const SeatGradients<RingAttention>& gradients,
                       const auto& pass) const {
        const AttentionPlan plan = plan_for(pass.share, pass.batch, pass.sequences);
        const List<TokenPositions> tokens = query_tokens(plan);
        Matrix<T> placed_query;  // where the cache has them as they come from qkv
        KeyValueMessage<T> placed_key_value;
        if constexpr (options.query_key_norm) {
            placed_query = cache.query;
            placed_key_value = cache.key_value;
            place(placed_query, tokens, placed_key_value.views(), pass);
            placed_key_value = stored(std::move(placed_key_value), plan);
        }
        const Matrix<T>& query = options.query_key_norm ? placed_query : cache.query;
        const KeyValueMessage<T>& key_value = options.query_key_norm ? placed_key_value : cache.key_value;
        d = out_proj.backward(std::move(d), cache.out_proj,
                              gradients.part([](auto& layer) -> auto& { return layer.out_proj; }));
        Matrix<T> d_projected(d.rows(), qkv_width);
        detail::parallel_rows(d.rows(), [&](Index row) { d_projected.row(row).setZero(); });
        const auto part = [&](Index first, Index num_heads) {
            return token_by_token(d_projected.data() + first, tokens, pass.batch, num_heads, head_width,
                                  qkv_width);
        };
        Matrix<T> d_sinks = Matrix<T>::Zero(options.sinks ? pass.share.num_seats() : 0, heads);  // a seat's
        List<std::span<T>> d_sinks_at_seats;
        for (Index seat = 0; seat < d_sinks.rows(); ++seat)
            d_sinks_at_seats.emplace_back(d_sinks.row(seat).data(), std::size_t(heads));
        attend_backward<T>(pass.ring, plan,
                           {{tokens, heads_of(query.data(), tokens, pass), terms()},
                            heads_of(std::as_const(d).data(), tokens, pass),
                            heads_of(cache.out_proj.input.data(), tokens, pass),
                            head_by_head(cache.log_sum_exp.data(), tokens, pass.batch, heads, 1),
                            head_by_head(cache.log_sum_exp_rest.data(), tokens, pass.batch, heads, 1),
                            key_value.views(),
                            part(0, heads),
                            key_values(plan.keys, part(query_width, key_value_heads),
                                       part(query_width + key_value_width, key_value_heads)),
                            {},
                            d_sinks_at_seats},
                           key_value);
        if constexpr (options.sinks) {
            Index seat = 0;
            gradients.part([](auto& layer) -> auto& { return layer.sinks; })
                .for_each([&](RowVector<T>& gradient, IndexRange) { gradient += d_sinks.row(seat++); });
        }
        if constexpr (QueryKey::changes) {
            QueryKey::backward(q_norm, heads_of(cache.query.data(), tokens, pass), part(0, heads), tokens,
                               gradients.part([](auto& layer) -> auto& { return layer.q_norm; }), pass);
            QueryKey::backward(k_norm, keys_of(cache.key_value.views()), part(query_width, key_value_heads),
                               tokens, gradients.part([](auto& layer) -> auto& { return layer.k_norm; }),
                               pass);
        }
        return qkv.backward(std::move(d_projected), cache.qkv,
                            gradients.part([](auto& layer) -> auto& { return layer.qkv; }));
    }

  private:
    AttentionPlan plan_for(const Share& share, Index batch, const Sequences* sequences) const {
        AttentionOptions of_layer{.causal = options.causal,
                                  .window = window,
                                  .scale = double(options.scale),
                                  .softcap = double(options.softcap),
                                  .storage = options.storage};
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

    /// From what qkv gives to what attention takes, in place.
    void place(Matrix<T>& query, const List<TokenPositions>& asking, const KeyValues<T>& key_value,
               const auto& pass) const {
        if constexpr (QueryKey::changes) {
            QueryKey::forward(q_norm, heads_of(query.data(), asking, pass), asking, pass);
            QueryKey::forward(k_norm, keys_of(key_value), positions_of(key_value), pass);
        }
    }

    /// As they are to be kept and sent.
    static KeyValueMessage<T> stored(KeyValueMessage<T> key_value, const AttentionPlan& plan) {
        if (plan.storage == Storage::computing) return key_value;
        KeyValueMessage<T> rounded(plan.keys, plan.heads, plan.storage);
        detail::copy_heads<T>(std::as_const(key_value).views(), rounded.views(),
                              plan.heads.batch_key_value_heads());
        return rounded;
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
            qkv.apply(last, {0, query_width}, detail::view(query), [](Index, Index, std::span<const T>) {});
            qkv.apply(x, {query_width, 2 * key_value_width}, detail::view(scratch), write);
            return query;
        }
        Matrix<T> query(x.rows(), query_width), scratch(x.rows(), qkv_width);
        qkv.apply(x, {0, qkv_width}, detail::view(scratch),
                  [&](Index row, Index col, std::span<const T> numbers) {
                      const auto to_query =
                          std::size_t(std::clamp<Index>(query_width - col, 0, Index(numbers.size())));
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
