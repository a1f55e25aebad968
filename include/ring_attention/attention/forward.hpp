#pragma once

#include <algorithm>
#include <cmath>

#include <ring_attention/attention/forward_travel.hpp>
#include <ring_attention/attention/head_forward.hpp>
#include <ring_attention/core/parallel.hpp>

namespace ring_attention::inline RING_ATTENTION_ABI {

// Attention, written once against the ring: the same code in one process and on any number of ranks.

/// The queries of a rank, at each seat some or all of its tokens.
template <class T>
struct SeatQueries {
    const List<TokenPositions>& tokens;
    SeatHeads<const T> query;
};

/// What they get from the whole ring.
template <class T>
struct SeatAttention {
    SeatHeads<T> output;
    SeatHeads<T> log_sum_exp;       ///< of width 1
    SeatHeads<T> log_sum_exp_rest;  ///< alike; empty where nobody wants it
};

namespace detail {

template <class T>
T score_scale(const HeadShape& shape) {
    return T(1) / std::sqrt(T(shape.head_dim));
}

/// A block of queries of one head at one seat.
struct QueryPlace {
    Index seat, batch_head, first, count;
};

/// A head after the other, so that its keys and values stay in the cache. Later queries first: where the mask
/// is causal they take longest, and the last task to be taken should be a short one. Tokens before and after
/// the gap of a seat are not of one block, still less of one tile: they see other keys.
inline List<QueryPlace> query_places(const List<TokenPositions>& seats, const HeadShape& shape,
                                     Index max_queries) {
    List<QueryPlace> places;
    Index blocks_of_a_head = 0;
    for (const TokenPositions& tokens : seats)
        blocks_of_a_head += ceil_div(tokens.before_gap(), max_queries) +
                            ceil_div(tokens.count - tokens.before_gap(), max_queries);
    places.reserve(std::size_t(shape.batch_heads() * blocks_of_a_head));
    for (Index batch_head = 0; batch_head < shape.batch_heads(); ++batch_head)
        for (Index seat = Index(seats.size()) - 1; seat >= 0; --seat) {
            const TokenPositions& tokens = seats[std::size_t(seat)];
            const Index gap_at = tokens.before_gap();
            for (const IndexRange& queries :
                 {IndexRange{gap_at, tokens.count - gap_at}, IndexRange{0, gap_at}})
                for (Index block = ceil_div(queries.count, max_queries) - 1; block >= 0; --block) {
                    const Index first = block * max_queries;
                    places.push_back({seat, batch_head, queries.first + first,
                                      std::min(max_queries, queries.count - first)});
                }
        }
    return places;
}

/// How many queries a task takes: many, for they share what they read, but so that there are tasks for all
/// threads. No bit depends on it.
template <class T>
Index queries_at_once(const List<TokenPositions>& seats, const HeadShape& shape) {
    constexpr Index lanes = AttentionTile<T>::lanes;
    Index queries = 0;
    for (const TokenPositions& tokens : seats) queries += shape.batch_heads() * tokens.count;
    return std::clamp(queries / (8 * num_threads()) / lanes * lanes, lanes, QueryBlock<T>::max_queries);
}

/// Where queries are from one visit to the next: their output so far lies in its place.
template <class T>
struct QueriesSoFar {
    List<RowVector<T>> maximum, sum;  // [batch * heads * tokens] a seat

    QueriesSoFar() = default;
    QueriesSoFar(const List<TokenPositions>& seats, const HeadShape& shape) {
        for (const TokenPositions& tokens : seats) {
            maximum.emplace_back(shape.batch_heads() * tokens.count);
            sum.emplace_back(shape.batch_heads() * tokens.count);
        }
    }
};

}  // namespace detail

/// The queries of this rank's seats attend to the keys and values of all; `sent` are its own, as they travel
/// (not needed on a ring of one rank).
template <class T, Ring R>
void attend(R& ring, const Share& share, const HeadShape& shape, const Mask& mask,
            const SeatQueries<T>& queries, const KeyValues<const T>& key_value,
            const KeyValueMessage<T>& sent, const SeatAttention<T>& result) {
    const List<detail::QueryPlace> places =
        detail::query_places(queries.tokens, shape, detail::queries_at_once<T>(queries.tokens, shape));
    const T scale = detail::score_scale<T>(shape);
    detail::QueriesSoFar<T> so_far =
        ring.ranks() > 1 ? detail::QueriesSoFar<T>(queries.tokens, shape) : detail::QueriesSoFar<T>();

    const auto absorb = [&](const detail::QueryPlace& place, const detail::Visit& visit,
                            const KeyValues<const T>& visitors) {
        const auto seat = std::size_t(place.seat);
        const TokenPositions tokens = queries.tokens[seat];
        const auto rows = [&](const auto& heads) {
            return heads[seat](place.batch_head).middle_rows(place.first, place.count);
        };
        const Index at = place.batch_head * tokens.count + place.first;
        QueryBlock<T> block(rows(queries.query), tokens.middle(place.first, place.count), scale);
        if (!visit.first)
            block.resume(rows(result.output), so_far.maximum[seat].data() + at, so_far.sum[seat].data() + at);
        for (const Meeting meeting : visit.meetings) {
            const IndexRange seats = visitors_to_meet(meeting, place.seat, Index(visitors.size()));
            for (Index visitor = seats.first; visitor < seats.end(); ++visitor) {
                const KeyValueView<const T>& chunk = visitors[std::size_t(visitor)];
                block.absorb(chunk.key(place.batch_head), chunk.value(place.batch_head), chunk.tokens, mask);
            }
        }
        if (visit.last)
            block.finish(rows(result.output), rows(result.log_sum_exp).data,
                         result.log_sum_exp_rest.empty() ? nullptr : rows(result.log_sum_exp_rest).data);
        else
            block.suspend(rows(result.output), so_far.maximum[seat].data() + at,
                          so_far.sum[seat].data() + at);
    };
    detail::receive_visitors<T>(ring, share, shape, mask, key_value, sent,
                                [&](const detail::Visit& visit, const KeyValues<const T>& visitors) {
                                    const auto span = detail::compute_span(ring, share, visit.hop);
                                    parallel_for(Index(places.size()), [&](Index i) {
                                        absorb(places[std::size_t(i)], visit, visitors);
                                    });
                                });
}

}  // namespace ring_attention::inline RING_ATTENTION_ABI
