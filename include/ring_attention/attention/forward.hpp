#pragma once

#include <algorithm>

#include <ring_attention/attention/forward_few.hpp>
#include <ring_attention/attention/forward_travel.hpp>
#include <ring_attention/attention/head_forward.hpp>
#include <ring_attention/attention/seat_queries.hpp>
#include <ring_attention/attention/visible_seats.hpp>
#include <ring_attention/core/parallel.hpp>

namespace ring_attention::inline RING_ATTENTION_ABI {

// Attention, written once against the ring: the same code in one process and on any number of ranks.

namespace detail {

/// A block of queries at one seat, rows of the heads that read one key-value head.
struct QueryPlace {
    Index seat, batch_head;
    IndexRange rows;
};

/// A key-value head after the other, so that its keys and values stay in the cache. Later queries first:
/// where the mask is causal they take longest, and the last task to be taken should be a short one. Tokens
/// before and after the gap of a seat are not of one block, still less of one tile: they see other keys.
inline List<QueryPlace> query_places(const List<TokenPositions>& seats, const HeadShape& shape,
                                     Index max_queries) {
    const Index group = shape.group();
    List<QueryPlace> places;
    Index blocks_of_a_head = 0;
    for (const TokenPositions& tokens : seats)
        blocks_of_a_head += ceil_div(tokens.before_gap() * group, max_queries) +
                            ceil_div((tokens.count - tokens.before_gap()) * group, max_queries);
    places.reserve(std::size_t(shape.batch_key_value_heads() * blocks_of_a_head));
    for (Index batch_head = 0; batch_head < shape.batch_key_value_heads(); ++batch_head)
        for (Index seat = Index(seats.size()) - 1; seat >= 0; --seat) {
            const TokenPositions& tokens = seats[std::size_t(seat)];
            const Index gap_at = tokens.before_gap();
            for (const IndexRange& run : {IndexRange{gap_at, tokens.count - gap_at}, IndexRange{0, gap_at}})
                for (Index block = ceil_div(run.count * group, max_queries) - 1; block >= 0; --block) {
                    const Index first = block * max_queries;
                    places.push_back(
                        {seat,
                         batch_head,
                         {run.first * group + first, std::min(max_queries, run.count * group - first)}});
                }
        }
    return places;
}

/// How many queries a task takes: many, for they share what they read, but so that there are tasks for all
/// threads. No bit depends on it.
template <class T>
Index queries_at_once(const List<TokenPositions>& seats, const HeadShape& shape) {
    if (num_threads() == 1) return QueryBlock<T>::max_queries;
    constexpr Index lanes = AttentionTile<T>::lanes;
    Index queries = 0;
    for (const TokenPositions& tokens : seats) queries += shape.batch_heads() * tokens.count;
    return std::clamp(queries / (8 * num_threads()) / lanes * lanes, lanes, QueryBlock<T>::max_queries);
}

/// Where queries are from one visit to the next: their output so far lies in its place.
template <class T>
class QueriesSoFar {
  public:
    QueriesSoFar() = default;
    QueriesSoFar(const List<TokenPositions>& seats, const HeadShape& shape) {
        for (const TokenPositions& tokens : seats) {
            rows_of_head_.push_back(tokens.count * shape.group());
            maximum_.emplace_back(shape.batch_heads() * tokens.count);
            sum_.emplace_back(shape.batch_heads() * tokens.count);
        }
    }

    T* maximum(const QueryPlace& place) { return maximum_[std::size_t(place.seat)].data() + at(place); }
    T* sum(const QueryPlace& place) { return sum_[std::size_t(place.seat)].data() + at(place); }

  private:
    Index at(const QueryPlace& place) const {
        return place.batch_head * rows_of_head_[std::size_t(place.seat)] + place.rows.first;
    }

    List<Index> rows_of_head_;
    List<RowVector<T>> maximum_, sum_;  // [batch * heads * tokens] a seat
};

/// Many queries: a tile of them at a time.
template <class T>
void attend_in_tiles(RingReference ring, const AttentionPlan& plan, const SeatQueries<T>& queries,
                     const KeyValues<const T>& key_value, const KeyValueMessage<T>& sent,
                     const SeatAttention<T>& result) {
    const List<QueryPlace> places =
        query_places(queries.tokens, plan.heads, queries_at_once<T>(queries.tokens, plan.heads));
    QueriesSoFar<T> so_far =
        ring.ranks() > 1 ? QueriesSoFar<T>(queries.tokens, plan.heads) : QueriesSoFar<T>();

    VisibleSeats sees;
    const auto absorb = [&](const QueryPlace& place, const HopVisit& visit,
                            const KeyValues<const T>& visitors) {
        const auto seat = std::size_t(place.seat);
        const HeadsView<T>& output = result.output[seat];
        QueryBlock<T> block(plan, queries.terms, place.seat, place.batch_head, queries.query[seat],
                            queries.tokens[seat], place.rows);
        if (!visit.first)
            block.so_far().resume(output, so_far.maximum(place), so_far.sum(place));
        else if (queries.terms.sinks)
            block.so_far().absorb_sinks(queries.terms.sinks, plan.heads.heads);
        for (const HopPhase phase : visit.phases) {
            const IndexRange seats = visitors_to_meet(phase, place.seat, Index(visitors.size()));
            for (Index visitor = seats.first; visitor < seats.end(); ++visitor) {
                if (!sees(place.seat, visitor)) continue;
                const KeyValueView<const T>& chunk = visitors[std::size_t(visitor)];
                block.absorb(chunk.key_rows(place.batch_head), chunk.value_rows(place.batch_head),
                             chunk.tokens);
            }
        }
        if (visit.last)
            block.so_far().finish(
                output, result.log_sum_exp[seat],
                result.log_sum_exp_rest.empty() ? HeadsView<T>() : result.log_sum_exp_rest[seat]);
        else
            block.so_far().suspend(output, so_far.maximum(place), so_far.sum(place));
    };
    receive_messages<T>(ring, plan, key_value, sent,
                        [&](const HopVisit& visit, const KeyValues<const T>& visitors) {
                            sees = VisibleSeats(plan.mask, queries.tokens, visitors);
                            const auto span = compute_span(ring, plan, visit.hop);
                            parallel_for(Index(places.size()),
                                         [&](Index i) { absorb(places[std::size_t(i)], visit, visitors); });
                        });
}

/// Few queries: a piece of keys at a time.
template <class T>
void attend_in_pieces(RingReference ring, const AttentionPlan& plan, const SeatQueries<T>& queries,
                      const KeyValues<const T>& key_value, const KeyValueMessage<T>& sent,
                      const SeatAttention<T>& result) {
    FewQueriesForward<T> forward(plan, queries, result);
    receive_messages<T>(ring, plan, key_value, sent,
                        [&](const HopVisit& visit, const KeyValues<const T>& visitors) {
                            const auto span = compute_span(ring, plan, visit.hop);
                            forward.meet(visit, visitors);
                        });
}

/// num_queries: by how many, on all ranks together, it is judged whether they are few.
template <class T>
void attend_as(Index num_queries, RingReference ring, const AttentionPlan& plan,
               const SeatQueries<T>& queries, const KeyValues<const T>& key_value,
               const KeyValueMessage<T>& sent, const SeatAttention<T>& result) {
    const auto way = are_few<T>(num_queries, plan) ? attend_in_pieces<T> : attend_in_tiles<T>;
    way(ring, plan, queries, key_value, sent, result);
}

}  // namespace detail

/// The queries of this rank's seats attend to the keys and values of all; `sent` are its own, as they travel
/// (not needed on a ring of one rank). Some of a sequence's queries alone have the bits that they have among
/// all.
template <class T>
void attend(RingReference ring, const AttentionPlan& plan, const SeatQueries<T>& queries,
            const KeyValues<const T>& key_value, const KeyValueMessage<T>& sent,
            const SeatAttention<T>& result) {
    detail::attend_as<T>(plan.queries.layout().seq_len(), ring, plan, queries, key_value, sent, result);
}

}  // namespace ring_attention::inline RING_ATTENTION_ABI
