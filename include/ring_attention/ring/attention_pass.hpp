#pragma once

#include <cmath>
#include <limits>
#include <utility>
#include <vector>

#include <ring_attention/core/parallel.hpp>
#include <ring_attention/kernels/attention_backward.hpp>
#include <ring_attention/ring/schedule.hpp>
#include <ring_attention/ring/seats.hpp>
#include <ring_attention/ring/travellers.hpp>

namespace ring_attention {

// Attention, written once against the ring: the same code in one process and on any number of ranks.

/// What a rank's queries got from the whole ring.
template <class T>
struct SeatAttention {
    Seats<T> output;                        ///< [batch * heads * tokens, head_dim] a seat
    std::vector<RowVector<T>> log_sum_exp;  ///< [batch * heads * tokens] a seat
};

template <class T>
struct SeatAttentionGradient {
    Seats<T> query;
    Travellers<T> key_value;
};

namespace detail {

template <class T>
T score_scale(const HeadShape& shape) {
    return T(1) / std::sqrt(T(shape.head_dim));
}

/// The rows of one head of one batch entry.
template <class T>
auto head_rows(Matrix<T>& seat, Index batch_head, Index tokens) {
    return view(seat).middle_rows(batch_head * tokens, tokens);
}
template <class T>
auto head_rows(const Matrix<T>& seat, Index batch_head, Index tokens) {
    return view(seat).middle_rows(batch_head * tokens, tokens);
}

/// Lets the keys and values of every rank visit this one, its own first, and calls meet(meeting, visitors)
/// each time; the next visitors travel meanwhile.
template <class T, Ring R>
void receive_visitors(R& ring, const Share& share, const HeadShape& shape, const Travellers<T>& own,
                      auto&& meet) {
    const int ranks = ring.ranks();
    Travellers<T> visiting, arriving;
    const Travellers<T>* present = &own;
    for (int hop = 0; hop < ranks; ++hop) {
        const Meeting meeting = hop == 0 ? Meeting::own_first : Meeting::visiting;
        if (hop + 1 == ranks) {
            meet(meeting, *present);
            break;
        }
        arriving = Travellers<T>(share.of_neighbour(hop + 1), shape);
        auto exchange = ring.start_exchange(Channel::key_value, present->bytes(), arriving.bytes());
        meet(meeting, *present);
        exchange.finish();
        std::swap(visiting, arriving);
        present = &visiting;
    }
    meet(Meeting::own_last, own);
}

/// A tile of queries of one head at one seat.
struct TilePlace {
    Index seat, batch_head, first, count;
};

inline std::vector<TilePlace> query_tiles(const Share& share, const HeadShape& shape) {
    std::vector<TilePlace> tiles;
    for (Index seat = 0; seat < share.num_seats(); ++seat)
        for (Index batch_head = 0; batch_head < shape.batch_heads(); ++batch_head)
            for (Index first = 0; first < share.tokens(seat).count; first += query_tile)
                tiles.push_back(
                    {seat, batch_head, first, std::min(query_tile, share.tokens(seat).count - first)});
    return tiles;
}

/// The queries of all seats of a rank while visitors come by.
template <class T>
struct RunningAttention {
    const Share& share;
    const HeadShape& shape;
    const Seats<T>& query;
    SeatAttention<T>& result;
    std::vector<RowVector<T>> maximum, sum;

    RunningAttention(const Share& of, const HeadShape& with, const Seats<T>& queries, SeatAttention<T>& into)
        : share(of), shape(with), query(queries), result(into) {
        for (const Matrix<T>& seat : queries) {
            result.output.push_back(Matrix<T>::Zero(seat.rows(), seat.cols()));
            result.log_sum_exp.push_back(RowVector<T>::Zero(seat.rows()));
            maximum.push_back(RowVector<T>::Constant(seat.rows(), -std::numeric_limits<T>::infinity()));
            sum.push_back(RowVector<T>::Zero(seat.rows()));
        }
    }

    Index first_row(const TilePlace& place) const {
        return place.batch_head * share.tokens(place.seat).count + place.first;
    }

    QueryTile<T> tile(const TilePlace& place) {
        const auto seat = std::size_t(place.seat);
        const Index row = first_row(place);
        return {view(query[seat]).middle_rows(row, place.count),
                {share.tokens(place.seat).first + place.first, place.count},
                view(result.output[seat]).middle_rows(row, place.count),
                maximum[seat].data() + row,
                sum[seat].data() + row};
    }
};

}  // namespace detail

/// The queries of this rank's seats attend to the keys and values of all. query: [batch * heads * tokens,
/// head_dim] a seat.
template <class T, Ring R>
SeatAttention<T> attend(R& ring, const Share& share, const HeadShape& shape, const Mask& mask,
                        const Seats<T>& query, const Travellers<T>& key_value) {
    SeatAttention<T> result;
    detail::RunningAttention<T> running(share, shape, query, result);
    const std::vector<detail::TilePlace> tiles = detail::query_tiles(share, shape);
    const T scale = detail::score_scale<T>(shape);

    detail::receive_visitors(
        ring, share, shape, key_value, [&](Meeting meeting, const Travellers<T>& visitors) {
            parallel_for(Index(tiles.size()), [&](Index i) {
                const detail::TilePlace& place = tiles[std::size_t(i)];
                const QueryTile<T> tile = running.tile(place);
                const Run seats = visitors_to_meet(meeting, place.seat, visitors.num_seats());
                for (Index seat = seats.first; seat < seats.end(); ++seat)
                    absorb_chunk<T>(tile, visitors.key(seat, place.batch_head),
                                    visitors.value(seat, place.batch_head), visitors.tokens(seat), mask,
                                    scale);
            });
        });
    parallel_for(Index(tiles.size()), [&](Index i) {
        const detail::TilePlace& place = tiles[std::size_t(i)];
        finish_queries(running.tile(place),
                       result.log_sum_exp[std::size_t(place.seat)].data() + running.first_row(place));
    });
    return result;
}

/// Gradients of dot(d_output, attend(...).output). The gradients of a rank's keys and values travel with them
/// and end at home.
template <class T, Ring R>
SeatAttentionGradient<T> attend_backward(R& ring, const Share& share, const HeadShape& shape,
                                         const Mask& mask, const Seats<T>& query,
                                         const Travellers<T>& key_value, const SeatAttention<T>& result,
                                         const Seats<T>& d_output) {
    const int ranks = ring.ranks();
    const T scale = detail::score_scale<T>(shape);
    SeatAttentionGradient<T> gradient;
    std::vector<RowVector<T>> d_output_dot_output;
    for (std::size_t seat = 0; seat < query.size(); ++seat) {
        gradient.query.push_back(Matrix<T>::Zero(query[seat].rows(), query[seat].cols()));
        RowVector<T>& row_dot = d_output_dot_output.emplace_back(query[seat].rows());
        for (Index row = 0; row < row_dot.size(); ++row)
            row_dot[row] =
                dot(d_output[seat].row(row).data(), result.output[seat].row(row).data(), shape.head_dim);
    }

    const auto meet = [&](Meeting meeting, const Travellers<T>& visitors, Travellers<T>& d_visitors) {
        parallel_for(shape.batch_heads(), [&](Index head) {
            for_each_pair(meeting, share.num_seats(), visitors.num_seats(),
                          [&](Index query_seat, Index key_seat) {
                              const auto at = std::size_t(query_seat);
                              const TokenRun tokens = share.tokens(query_seat);
                              const Index row = head * tokens.count;
                              absorb_chunk_backward<T>(
                                  {detail::head_rows(query[at], head, tokens.count),
                                   detail::head_rows(d_output[at], head, tokens.count),
                                   result.log_sum_exp[at].data() + row, d_output_dot_output[at].data() + row,
                                   tokens, detail::head_rows(gradient.query[at], head, tokens.count)},
                                  {visitors.key(key_seat, head), visitors.value(key_seat, head),
                                   visitors.tokens(key_seat), d_visitors.key(key_seat, head),
                                   d_visitors.value(key_seat, head)},
                                  mask, scale);
                          });
        });
    };

    Travellers<T> present(share, shape), arriving;  // the gradients of those who visit
    int hop = 0;
    detail::receive_visitors(
        ring, share, shape, key_value, [&](Meeting meeting, const Travellers<T>& visitors) {
            meet(meeting, visitors, present);
            if (ranks == 1 || meeting == Meeting::own_last) return;
            arriving = Travellers<T>(share.of_neighbour(++hop),
                                     shape);  // after the last hop: this rank's own, come home
            ring.start_exchange(Channel::gradient, present.bytes(), arriving.bytes()).finish();
            std::swap(present, arriving);
        });
    gradient.key_value = std::move(present);
    return gradient;
}

}  // namespace ring_attention
