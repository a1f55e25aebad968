#pragma once

#include <algorithm>

#include <ring_attention/attention/backward_travel.hpp>
#include <ring_attention/attention/forward.hpp>
#include <ring_attention/attention/head_backward.hpp>
#include <ring_attention/kernels/reduce.hpp>

namespace ring_attention::inline RING_ATTENTION_ABI {

/// What backward knows of a rank's queries, keys and values, one a seat; the gradients are added to.
template <class T>
struct SeatGradientViews {
    SeatHeads<const T> query, d_output, output, log_sum_exp;
    SeatHeads<const T> log_sum_exp_rest;  ///< empty where there is none
    KeyValues<const T> key_value;
    SeatHeads<T> d_query;
    KeyValues<T> d_key_value;
};

namespace detail {

/// rowsum(d_output output), [batch * heads * tokens] a seat.
template <class T>
List<RowVector<T>> row_dots(const Share& share, const HeadShape& shape, const SeatGradientViews<T>& views) {
    List<RowVector<T>> dots;
    for (Index seat = 0; seat < share.num_seats(); ++seat) {
        const Index tokens = share.tokens(seat).count;
        RowVector<T>& of_seat = dots.emplace_back(shape.batch_heads() * tokens);
        parallel_for(shape.batch_heads(), [&](Index head) {
            const auto d_rows = views.d_output[std::size_t(seat)](head),
                       rows = views.output[std::size_t(seat)](head);
            for (Index i = 0; i < tokens; ++i)
                of_seat[head * tokens + i] = dot(&d_rows(i, 0), &rows(i, 0), shape.head_dim);
        });
    }
    return dots;
}

/// All queries of a head at a seat with all keys and values of a head at a seat: to a query, keys come in
/// rising order, to a key, queries. A block of one meets a block of the other in task(query_block,
/// key_block).
struct BlockPairs {
    Index query_blocks, key_blocks;

    void one_after_the_other(auto&& task) const {
        for (Index key = 0; key < key_blocks; ++key)
            for (Index query = 0; query < query_blocks; ++query) task(query, key);
    }

    /// The same orders, for `heads` heads on all threads: the pairs on a diagonal have no block in common.
    void on_all_threads(Index heads, auto&& task) const {
        for (Index wave = 0; wave < query_blocks + key_blocks - 1; ++wave) {
            const Index first = std::max<Index>(0, wave - query_blocks + 1),
                        end = std::min(key_blocks, wave + 1);
            parallel_for(heads * (end - first), [&](Index i) {
                const Index key = first + i / heads;
                task(i % heads, wave - key, key);
            });
        }
    }
};

/// The meetings of a visit, backward, of some of the heads; what visits, and its gradients, are of these
/// alone.
template <class T>
void meet_backward(const Visit& visit, const Share& share, const HeadShape& shape, const Mask& mask,
                   const SeatGradientViews<T>& own, const List<RowVector<T>>& dots, const IndexRange& heads,
                   const KeyValues<const T>& visitors, const KeyValues<T>& d_visitors) {
    using Block = BackwardBlock<T>;
    const auto meet_blocks = [&](Index query_seat, Index key_seat, Index head_of_these, Index query_block,
                                 Index key_block) {
        const auto seat = std::size_t(query_seat);
        const Index head = heads.first + head_of_these;
        const KeyValueView<const T>& keys = visitors[std::size_t(key_seat)];
        const KeyValueView<T>& d_keys = d_visitors[std::size_t(key_seat)];
        const TokenPositions tokens = share.tokens(query_seat);
        const QueryGradient<T> queries{
            own.query[seat](head),
            own.d_output[seat](head),
            own.log_sum_exp[seat](head).data,
            own.log_sum_exp_rest.empty() ? nullptr : own.log_sum_exp_rest[seat](head).data,
            dots[seat].data() + head * tokens.count,
            tokens,
            own.d_query[seat](head)};
        const KeyValueGradient<T> chunk{keys.key(head_of_these), keys.value(head_of_these), keys.tokens,
                                        d_keys.key(head_of_these), d_keys.value(head_of_these)};
        const Index first = query_block * Block::queries, first_key = key_block * Block::keys;
        absorb_block_backward<T>(
            queries.middle_rows(first, std::min(Block::queries, tokens.count - first)),
            chunk.middle_rows(first_key, std::min(Block::keys, keys.tokens.count - first_key)), mask,
            score_scale<T>(shape));
    };
    const auto for_each_seat_pair = [&](auto&& f) {
        for (const Meeting meeting : visit.meetings)
            for_each_pair(
                meeting, share.num_seats(), Index(visitors.size()), [&](Index query_seat, Index key_seat) {
                    const TokenPositions queries = share.tokens(query_seat),
                                         keys = visitors[std::size_t(key_seat)].tokens;
                    if (!mask.any_visible(queries, keys)) return;
                    f(query_seat, key_seat,
                      BlockPairs{ceil_div(queries.count, Block::queries), ceil_div(keys.count, Block::keys)});
                });
    };
    // The orders are the same: heads side by side where there are enough for the threads, else blocks.
    if (heads.count % num_threads() == 0 || heads.count > 4 * num_threads())
        parallel_for(heads.count, [&](Index head) {
            for_each_seat_pair([&](Index query_seat, Index key_seat, const BlockPairs& pairs) {
                pairs.one_after_the_other([&](Index query_block, Index key_block) {
                    meet_blocks(query_seat, key_seat, head, query_block, key_block);
                });
            });
        });
    else
        for_each_seat_pair([&](Index query_seat, Index key_seat, const BlockPairs& pairs) {
            pairs.on_all_threads(heads.count, [&](Index head, Index query_block, Index key_block) {
                meet_blocks(query_seat, key_seat, head, query_block, key_block);
            });
        });
}

}  // namespace detail

/// Adds the gradients of dot(d_output, output) to d_query and d_key_value. Those of keys and values travel
/// with them, and are added when they are at home again. sent: as for attend().
template <class T, Ring R>
void attend_backward(R& ring, const Share& share, const HeadShape& shape, const Mask& mask,
                     const SeatGradientViews<T>& own, const KeyValueMessage<T>& sent) {
    const List<RowVector<T>> dots = detail::row_dots<T>(share, shape, own);
    const auto meet = [&](const detail::Visit& visit, const IndexRange& heads,
                          const KeyValues<const T>& visitors, const KeyValues<T>& d_visitors) {
        const auto span = detail::compute_span(ring, share, visit.hop);
        detail::meet_backward<T>(visit, share, shape, mask, own, dots, heads, visitors, d_visitors);
    };
    if (ring.ranks() == 1) {
        const detail::Visit all{{Meeting::own_first, Meeting::own_last}, 0, true, true};
        return meet(all, {0, shape.batch_heads()}, own.key_value, own.d_key_value);
    }
    detail::BackwardTravel<T, R>(ring, share, shape, mask, own.key_value, sent, own.d_key_value).run(meet);
}

}  // namespace ring_attention::inline RING_ATTENTION_ABI
