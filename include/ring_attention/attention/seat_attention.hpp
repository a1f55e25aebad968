#pragma once

#include <algorithm>
#include <limits>
#include <span>
#include <utility>

#include <ring_attention/attention/cached_attention.hpp>
#include <ring_attention/attention/key_pieces.hpp>
#include <ring_attention/attention/partial_attention.hpp>
#include <ring_attention/attention/seat_caches.hpp>
#include <ring_attention/ring/exchange_with_all.hpp>
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
        block.so_far().finish_part(outputs_of(partial, batch_head, heads.group()),
                                   &partial.maximum(rows.first), &partial.sum(rows.first));
    });
}

/// The same for few queries: what they get from the keys of a seat is merged in the order of the keys.
template <class T>
void attend_to_runs_in_pieces(const TokenQueries<T>& asking, const List<KeyValues<const T>>& kept,
                              SeatPartials<T>& partials) {
    const List<TokenPositions> tokens{asking.tokens};
    const SeatHeads<const T> query{asking.query};
    const Index heads = asking.plan.heads.batch_key_value_heads();
    KeyPieces<T> pieces(asking.plan, asking.terms, tokens, query);
    for (Index i = 0; i < partials.count(); ++i)
        for (Index head = 0; head < heads; ++head) {
            pieces.begin_block(0, head);
            for (const KeyValueView<const T>& run : kept[std::size_t(i)]) pieces.add(run);
        }
    pieces.attend([&](Index block, Index, Index head) {
        const PartialAttention<T> sum = partials(block / heads, head);
        sum.set_empty();
        pieces.merge_into(sum, block);
    });
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
        sum.set_sinks(asking.terms.sinks, batch_head, shape);
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
    exchange_with_all(ring, Channel::key_value, own.bytes(),
                      [&](int rank) { return of_ranks[std::size_t(rank)].bytes(); });
    detail::merge_seats<T>(of_ranks, asking, output);
}

}  // namespace ring_attention::inline RING_ATTENTION_ABI
RING_ATTENTION_PRECISE_END
