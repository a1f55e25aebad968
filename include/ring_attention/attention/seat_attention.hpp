#pragma once

#include <algorithm>
#include <limits>
#include <span>
#include <utility>

#include <ring_attention/attention/cached_attention.hpp>
#include <ring_attention/attention/partial_attention.hpp>
#include <ring_attention/attention/seat_caches.hpp>
#include <ring_attention/ring/ring_reference.hpp>

RING_ATTENTION_PRECISE_BEGIN
namespace ring_attention::inline RING_ATTENTION_ABI {

// Attention of new tokens to what caches hold at the seats of a ring. Every rank has the queries; it computes
// what they get from the keys and values of its own seats, a partial attention each; these alone travel, in
// one hop, and every rank merges those of all seats in the order of the seats. So all ranks have the same
// bits, and these depend on the number of seats and not on that of ranks. A token costs
//   batch x heads x (value width + 2) numbers
// for each seat that has a token it sees, sent to each other rank.

namespace detail {

/// Partial attention of the queries to the keys at each of some seats, as it travels: of those seats that
/// have any that are seen, which every rank knows. For each seat and key-value head a row for each query, the
/// tokens one after the other, and of each token the heads of the group.
template <class T>
class SeatPartials {
  public:
    SeatPartials(const StreamLayout& layout, const IndexRange& seats, const IndexRange& seen,
                 const HeadShape& shape, Index queries)
        : rows_(queries * shape.group()),
          value_width_(shape.value_width),
          heads_(shape.batch_key_value_heads()) {
        for (Index seat = seats.first; seat < seats.end(); ++seat)
            if (layout.count(seat, seen) > 0) seats_.push_back(seat);
        numbers_.resize(count() * heads_ * size());
    }

    Index count() const { return Index(seats_.size()); }
    Index seat(Index i) const { return seats_[std::size_t(i)]; }

    PartialAttention<T> operator()(Index i, Index batch_head) {
        return {numbers_.data() + (i * heads_ + batch_head) * size(), rows_, value_width_};
    }

    std::span<std::byte> bytes() { return std::as_writable_bytes(numbers_of(numbers_)); }

  private:
    Index size() const { return PartialAttention<T>::size(rows_, value_width_); }

    Index rows_ = 0, value_width_ = 0, heads_ = 0;
    List<Index> seats_;
    RowVector<T> numbers_;
};

/// The outputs of a partial attention as those of key-value head number `batch_head`.
template <class T>
HeadsView<T> outputs_of(const PartialAttention<T>& partial, Index batch_head, Index group) {
    const Index width = partial.value_width;
    HeadsView<T> view =
        HeadsView<T>::token_by_token(partial.numbers, group, partial.rows / group, width, group * width);
    view.heads = std::numeric_limits<Index>::max();  // of one batch entry
    view.first_head = -batch_head * group;
    return view;
}

/// What new tokens ask, which every rank has.
template <class T>
struct TokenQueries {
    const AttentionPlan& plan;
    const ScoreTerms<T>& terms;
    HeadsView<const T> query;
    TokenPositions tokens;
};

/// kept: at each of the seats of `partials` the keys and values that are seen, run after run.
template <class T>
void attend_to_runs_in_tiles(const TokenQueries<T>& asking, const List<KeyValues<const T>>& kept,
                             SeatPartials<T>& partials) {
    const HeadShape& heads = asking.plan.heads;
    const List<QueryPlace> places =
        query_places({asking.tokens}, heads, queries_at_once<T>({asking.tokens}, heads));
    const auto num_places = Index(places.size());
    parallel_for(partials.count() * num_places, [&](Index task) {
        const Index i = task / num_places;
        const auto& [seat, batch_head, rows] = places[std::size_t(task % num_places)];
        QueryBlock<T> block(asking.plan, asking.terms, seat, batch_head, asking.query, asking.tokens, rows);
        for (const KeyValueView<const T>& run : kept[std::size_t(i)])
            block.absorb(run.key_rows(batch_head), run.value_rows(batch_head), run.tokens);
        const PartialAttention<T> partial = partials(i, batch_head);
        block.suspend(outputs_of(partial, batch_head, heads.group()), &partial.maximum(rows.first),
                      &partial.sum(rows.first));
    });
}

/// The same for few queries: a piece of keys is a task, and those of a seat are merged in the order of the
/// keys.
template <class T>
void attend_to_runs_in_pieces(const TokenQueries<T>& asking, const List<KeyValues<const T>>& kept,
                              SeatPartials<T>& partials) {
    struct Piece {
        Index i, batch_head;
        const KeyValueView<const T>& run;
        KeyPiece keys;
    };
    const AttentionPlan& plan = asking.plan;
    const Index heads = plan.heads.batch_key_value_heads();
    List<Piece> pieces;
    List<Index> ends;  // of each seat and head
    for (Index i = 0; i < partials.count(); ++i)
        for (Index head = 0; head < heads; ++head) {
            for (const KeyValueView<const T>& run : kept[std::size_t(i)])
                KeyPiece::for_each(run.tokens,
                                   FewQueries<T>::seen_by_some(plan.mask, head / plan.heads.key_value_heads,
                                                               asking.tokens, run.tokens),
                                   [&](const KeyPiece& keys) {
                                       pieces.push_back({i, head, run, keys});
                                   });
            ends.push_back(Index(pieces.size()));
        }
    const Index rows = asking.tokens.count * plan.heads.group(),
                size = PartialAttention<T>::size(rows, plan.heads.value_width);
    const Buffer<T> memory(Index(pieces.size()) * size);
    const auto part = [&](Index number) {
        return PartialAttention<T>{memory.data() + number * size, rows, plan.heads.value_width};
    };
    parallel_for(Index(pieces.size()), [&](Index number) {
        const auto& [i, head, run, keys] = pieces[std::size_t(number)];
        FewQueries<T>(plan, asking.terms, 0, head, asking.query, asking.tokens)
            .attend(run.key_rows(head), run.value_rows(head), run.tokens, keys, part(number));
    });
    parallel_for_in_runs(Index(ends.size()), 8, [&](Index number) {
        const PartialAttention<T> sum = partials(number / heads, number % heads);
        sum.set_empty();
        for (Index i = number > 0 ? ends[std::size_t(number - 1)] : 0; i < ends[std::size_t(number)]; ++i)
            merge<T>(sum, part(i));
    });
}

/// Brings to every rank what the others have.
template <class T>
void exchange_partials(RingReference ring, List<SeatPartials<T>>& of_ranks) {
    HopMessages messages{Channel::key_value};
    for (int hops = 1; hops < ring.ranks(); ++hops) {
        const int to = (ring.rank() + hops) % ring.ranks(),
                  from = (ring.rank() + ring.ranks() - hops) % ring.ranks();
        messages.send(to, of_ranks[std::size_t(ring.rank())].bytes());
        messages.receive(from, of_ranks[std::size_t(from)].bytes());
    }
    if (!messages.outgoing.empty() || !messages.incoming.empty()) ring.start_hop(messages).finish();
}

/// Merges the partial attentions of all seats, in their order.
template <class T>
void merge_seats(List<SeatPartials<T>>& of_ranks, const TokenQueries<T>& asking, const HeadsView<T>& output) {
    const HeadShape& shape = asking.plan.heads;
    const Index group = shape.group(), rows = asking.tokens.count * group,
                size = PartialAttention<T>::size(rows, shape.value_width);
    const Buffer<T> memory(shape.batch_key_value_heads() * size);
    parallel_for_in_runs(shape.batch_key_value_heads(), ceil_div(8, rows), [&](Index batch_head) {
        const PartialAttention<T> sum{memory.data() + batch_head * size, rows, shape.value_width};
        sum.set_empty();
        for (Index row = 0; asking.terms.sinks && row < rows; ++row)
            sum.set_sink(row, asking.terms.sinks[(batch_head * group + row % group) % shape.heads]);
        for (SeatPartials<T>& partials : of_ranks)
            for (Index i = 0; i < partials.count(); ++i) merge<T>(sum, partials(i, batch_head));
        const GroupRows<T> outputs = output.group_rows(batch_head, group);
        T log_sum_exp;
        for (Index row = 0; row < rows; ++row) sum.finish(row, outputs.row(row), log_sum_exp);
    });
}

}  // namespace detail

/// Attention of new tokens, at the places `tokens`, the same on every rank, to those before them and
/// themselves, whose keys and values the ranks have in `caches`, as the layout says. terms: without a bias.
template <class T>
void attend_to_seats(RingReference ring, const AttentionPlan& plan, const ScoreTerms<T>& terms,
                     const HeadsView<const T>& query, const TokenPositions& tokens,
                     const StreamLayout& layout, const SeatCaches<T>& caches, const HeadsView<T>& output) {
    const IndexRange seen = caches.seen_by(layout, tokens.first, tokens.position(tokens.count - 1) + 1);
    if (layout.num_seats() == 1)
        return attend_to_cache<T>(plan, terms, query, tokens, caches.at(layout, 0, seen)[0], output);

    List<detail::SeatPartials<T>> of_ranks;
    for (int rank = 0; rank < ring.ranks(); ++rank)
        of_ranks.emplace_back(layout, divide(layout.num_seats(), ring.ranks(), rank), seen, plan.heads,
                              tokens.count);
    detail::SeatPartials<T>& own = of_ranks[std::size_t(ring.rank())];
    List<KeyValues<const T>> kept;
    for (Index i = 0; i < own.count(); ++i)
        kept.push_back(caches.at(layout, own.seat(i) - caches.seats().first, seen));
    const detail::TokenQueries<T> asking{plan, terms, query, tokens};
    if (detail::are_few<T>(tokens.count, plan))
        detail::attend_to_runs_in_pieces<T>(asking, kept, own);
    else
        detail::attend_to_runs_in_tiles<T>(asking, kept, own);
    detail::exchange_partials<T>(ring, of_ranks);
    detail::merge_seats<T>(of_ranks, asking, output);
}

}  // namespace ring_attention::inline RING_ATTENTION_ABI
RING_ATTENTION_PRECISE_END
