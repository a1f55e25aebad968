#pragma once

#include <algorithm>
#include <cmath>
#include <numbers>
#include <span>

#include <ring_attention/attention/backward_travel.hpp>
#include <ring_attention/attention/forward.hpp>
#include <ring_attention/attention/head_backward.hpp>
#include <ring_attention/attention/visible_seats.hpp>
#include <ring_attention/kernels/reduce.hpp>

RING_ATTENTION_PRECISE_BEGIN
namespace ring_attention::inline RING_ATTENTION_ABI {

/// What backward knows of a rank's queries, keys and values, at each seat; the gradients are added to.
template <class T>
struct SeatGradientViews {
    SeatQueries<T> queries;
    SeatHeads<const T> d_output, output, log_sum_exp;
    SeatHeads<const T> log_sum_exp_rest;  ///< empty where there is none
    KeyValues<const T> key_value;
    SeatHeads<T> d_query;
    KeyValues<T> d_key_value;
    SeatHeads<T> d_bias{};         ///< empty: not wanted
    List<std::span<T>> d_sinks{};  ///< [heads], of each seat or the same for several; empty: not wanted
    bool bias_is_shared = false;   ///< by several heads or batch entries
};

namespace detail {

/// rowsum(d_output output), [batch * heads * tokens] a seat.
template <class T>
List<RowVector<T>> row_dots(const AttentionPlan& plan, const SeatGradientViews<T>& views) {
    List<RowVector<T>> dots;
    for (std::size_t seat = 0; seat < views.queries.tokens.size(); ++seat) {
        const Index tokens = views.queries.tokens[seat].count;
        RowVector<T>& of_seat = dots.emplace_back(plan.heads.batch_heads() * tokens);
        parallel_for(plan.heads.batch_heads(), [&](Index head) {
            const auto d_rows = views.d_output[seat](head), rows = views.output[seat](head);
            for (Index i = 0; i < tokens; ++i)
                of_seat[head * tokens + i] = dot(&d_rows(i, 0), &rows(i, 0), plan.heads.value_width);
        });
    }
    return dots;
}

/// exp(sink - log_sum_exp) of a query.
template <class T>
double sink_weight(const SeatGradientViews<T>& views, std::size_t seat, Index head, Index batch_head,
                   Index query) {
    const T log_sum_exp = views.log_sum_exp[seat](batch_head)(query, 0);
    const double sink = double(views.queries.terms.sinks[head]);
    if (views.log_sum_exp_rest.empty() || !has_rest(log_sum_exp)) return std::exp(sink - double(log_sum_exp));
    return std::exp2(sink * std::numbers::log2e - double(base2_log_sum_exp(log_sum_exp)) -
                     double(views.log_sum_exp_rest[seat](batch_head)(query, 0)));
}

/// d_sinks += - sum over batch entries and queries of exp(sink - log_sum_exp) rowsum(d_output output), one
/// full sum a seat, a seat after the other.
template <class T>
void add_sink_gradients(const AttentionPlan& plan, const SeatGradientViews<T>& views,
                        const List<RowVector<T>>& dots) {
    const Index heads = plan.heads.heads;
    for (std::size_t seat = 0; seat < views.d_sinks.size(); ++seat) {
        const Index tokens = views.queries.tokens[seat].count;
        parallel_for(heads, [&](Index head) {
            double sum = 0;
            for (Index batch_head = head; batch_head < plan.heads.batch_heads(); batch_head += heads)
                for (Index i = 0; i < tokens; ++i) {
                    const double weight = sink_weight(views, seat, head, batch_head, i);
                    if (weight > 0) sum -= weight * double(dots[seat][batch_head * tokens + i]);
                }
            views.d_sinks[seat][std::size_t(head)] += T(sum);
        });
    }
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

/// What a rank has to do backward at one hop, with some of the key-value heads.
template <class T>
class BackwardMeeting {
    using Block = BackwardBlock<T>;

  public:
    /// heads: key-value heads, of which alone the visitors and their gradients are.
    BackwardMeeting(const AttentionPlan& plan, const SeatGradientViews<T>& own,
                    const List<RowVector<T>>& dots, const HopVisit& visit, const IndexRange& heads,
                    const KeyValues<const T>& visitors, const KeyValues<T>& d_visitors)
        : plan_(plan),
          own_(own),
          dots_(dots),
          visit_(visit),
          heads_(heads),
          visitors_(visitors),
          d_visitors_(d_visitors),
          sees_(plan.mask, own.queries.tokens, visitors),
          shared_(own.bias_is_shared && !own.d_bias.empty()),
          whole_heads_(!shared_ && (heads.count % num_threads() == 0 || heads.count > 4 * num_threads())),
          keys_of_block_(whole_heads_ ? Block::most_keys(plan.heads) : Block::keys) {}

    /// The orders of all sums are the same: heads side by side where there are enough for the threads, else
    /// blocks. Heads that share the gradient of a bias come one after the other.
    void run() const {
        if (whole_heads_)
            parallel_for(heads_.count, [&](Index head) {
                for_each_seat_pair([&](Index query_seat, Index key_seat, const BlockPairs& pairs) {
                    pairs.one_after_the_other([&](Index query_block, Index key_block) {
                        meet_blocks(query_seat, key_seat, head, query_block, key_block);
                    });
                });
            });
        else if (!shared_)
            for_each_seat_pair([&](Index query_seat, Index key_seat, const BlockPairs& pairs) {
                pairs.on_all_threads(heads_.count, [&](Index head, Index query_block, Index key_block) {
                    meet_blocks(query_seat, key_seat, head, query_block, key_block);
                });
            });
        else
            for (Index head = 0; head < heads_.count; ++head)
                for_each_seat_pair([&](Index query_seat, Index key_seat, const BlockPairs& pairs) {
                    pairs.on_all_threads(1, [&](Index, Index query_block, Index key_block) {
                        meet_blocks(query_seat, key_seat, head, query_block, key_block);
                    });
                });
    }

  private:
    void for_each_seat_pair(auto&& f) const {
        for (const HopPhase phase : visit_.phases)
            for_each_pair(phase, Index(own_.queries.tokens.size()), Index(visitors_.size()),
                          [&](Index query_seat, Index key_seat) {
                              if (!sees_(query_seat, key_seat)) return;
                              const TokenPositions &queries = own_.queries.tokens[std::size_t(query_seat)],
                                                   &keys = visitors_[std::size_t(key_seat)].tokens;
                              f(query_seat, key_seat,
                                BlockPairs{ceil_div(queries.count, Block::queries),
                                           ceil_div(keys.count, keys_of_block_)});
                          });
    }

    /// The query heads of a key-value head in rising order.
    void meet_blocks(Index query_seat, Index key_seat, Index head_of_these, Index query_block,
                     Index key_block) const {
        const auto seat = std::size_t(query_seat);
        const KeyValueView<const T>& keys = visitors_[std::size_t(key_seat)];
        const KeyValueView<T>& d_keys = d_visitors_[std::size_t(key_seat)];
        const TokenPositions& tokens = own_.queries.tokens[seat];
        const Index first = query_block * Block::queries, first_key = key_block * keys_of_block_;
        const IndexRange rows{first, std::min(Block::queries, tokens.count - first)};
        const KeyValueGradient<T> chunk =
            KeyValueGradient<T>{keys.key_rows(head_of_these), keys.value_rows(head_of_these), keys.tokens,
                                d_keys.key(head_of_these), d_keys.value(head_of_these)}
                .middle_rows(first_key, std::min(keys_of_block_, keys.tokens.count - first_key));
        const Index group = plan_.heads.group(), first_head = (heads_.first + head_of_these) * group;
        for (Index head = first_head; head < first_head + group; ++head) {
            const QueryGradient<T> queries{
                own_.queries.query[seat](head),
                own_.d_output[seat](head),
                own_.log_sum_exp[seat](head).data,
                own_.log_sum_exp_rest.empty() ? nullptr : own_.log_sum_exp_rest[seat](head).data,
                dots_[seat].data() + head * tokens.count,
                own_.d_query[seat](head)};
            absorb_block_backward<T>({plan_, own_.queries.terms, query_seat, head, tokens,
                                      own_.d_bias.empty() ? HeadsView<T>() : own_.d_bias[seat]},
                                     rows, queries.middle_rows(rows.first, rows.count), chunk);
        }
    }

    const AttentionPlan& plan_;
    const SeatGradientViews<T>& own_;
    const List<RowVector<T>>& dots_;
    const HopVisit& visit_;
    IndexRange heads_;
    const KeyValues<const T>& visitors_;
    const KeyValues<T>& d_visitors_;
    VisibleSeats sees_;
    bool shared_, whole_heads_;
    Index keys_of_block_;
};

}  // namespace detail

/// Adds the gradients of dot(d_output, output) to those of `own`. Those of keys and values travel with them,
/// and are added when they are at home again. sent: as for attend().
template <class T>
void attend_backward(RingReference ring, const AttentionPlan& plan, const SeatGradientViews<T>& own,
                     const KeyValueMessage<T>& sent) {
    const List<RowVector<T>> dots = detail::row_dots<T>(plan, own);
    detail::add_sink_gradients<T>(plan, own, dots);
    const auto meet = [&](const detail::HopVisit& visit, const IndexRange& heads,
                          const KeyValues<const T>& visitors, const KeyValues<T>& d_visitors) {
        const auto span = detail::compute_span(ring, plan, visit.hop);
        detail::BackwardMeeting<T>(plan, own, dots, visit, heads, visitors, d_visitors).run();
    };
    if (ring.ranks() == 1) {
        const detail::HopVisit all{{detail::HopPhase::own_first, detail::HopPhase::own_last}, 0, true, true};
        return meet(all, {0, plan.heads.batch_key_value_heads()}, own.key_value, own.d_key_value);
    }
    detail::BackwardTravel<T>(ring, plan, own.key_value, sent, own.d_key_value).run(meet);
}

}  // namespace ring_attention::inline RING_ATTENTION_ABI
RING_ATTENTION_PRECISE_END
