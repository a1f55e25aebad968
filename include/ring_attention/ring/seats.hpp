#pragma once

#include <string>
#include <vector>

#include <ring_attention/core/types.hpp>
#include <ring_attention/ring/layout.hpp>
#include <ring_attention/ring/ring.hpp>

namespace ring_attention {

/// One matrix for each seat of a rank. Activations have a row a token, [batch * tokens of the seat, width];
/// queries and their kind have a row a token and head, [batch * heads * tokens of the seat, head_dim].
template <class T>
using Seats = std::vector<Matrix<T>>;

/// Cuts the rank's [outer, tokens, width] numbers into seats of [outer * tokens of the seat, width].
template <class T>
Seats<T> split_seats(const T* numbers, Index outer, Index width, const Share& share) {
    Seats<T> seats(std::size_t(share.num_seats()));
    for (Index seat = 0; seat < share.num_seats(); ++seat) {
        const TokenRun tokens = share.tokens(seat);
        const Index offset = tokens.first - share.first_position();
        Matrix<T>& rows = seats[std::size_t(seat)];
        rows.resize(outer * tokens.count, width);
        for (Index i = 0; i < outer; ++i)
            std::copy_n(numbers + (i * share.num_tokens() + offset) * width, tokens.count * width,
                        rows.data() + i * tokens.count * width);
    }
    return seats;
}

/// The inverse of split_seats.
template <class T>
void join_seats(const Seats<T>& seats, Index outer, const Share& share, T* numbers) {
    for (Index seat = 0; seat < share.num_seats(); ++seat) {
        const TokenRun tokens = share.tokens(seat);
        const Index offset = tokens.first - share.first_position();
        const Matrix<T>& rows = seats[std::size_t(seat)];
        const Index width = rows.cols();
        for (Index i = 0; i < outer; ++i)
            std::copy_n(rows.data() + i * tokens.count * width, tokens.count * width,
                        numbers + (i * share.num_tokens() + offset) * width);
    }
}

/// Finds the whole sequence from what each rank holds. Throws ShapeError, the same on every rank, where the
/// lengths are not those of `num_seats` seats (see ChunkLayout and Share) or the ranks disagree on `outer`
/// (batch, or batch * heads).
template <Ring R>
Share agree_on_share(R& ring, Index num_seats, Index outer, Index local_tokens) {
    const int rank = ring.rank(), ranks = ring.ranks();
    std::vector<Index> held(std::size_t(2 * ranks));  // outer and tokens of every rank
    relay_numbers(ring, std::span(held), [&](std::span<Index> part, Index first) {
        const auto write = [&](Index at, Index number) {
            if (at >= first && at < first + Index(part.size())) part[std::size_t(at - first)] = number;
        };
        write(2 * rank, outer);
        write(2 * rank + 1, local_tokens);
    });
    Index seq_len = 0;
    for (int r = 0; r < ranks; ++r) seq_len += held[std::size_t(2 * r + 1)];
    const ChunkLayout layout(seq_len, num_seats);
    for (int r = 0; r < ranks; ++r) {
        const Share share(layout, r, ranks);
        const Index r_outer = held[std::size_t(2 * r)], r_tokens = held[std::size_t(2 * r + 1)];
        if (r_tokens != share.num_tokens())
            throw ShapeError("rank " + std::to_string(r) + " holds " + std::to_string(r_tokens) + " of " +
                             std::to_string(seq_len) + " tokens, expected " +
                             std::to_string(share.num_tokens()));
        if (r_outer != held[0])
            throw ShapeError("rank " + std::to_string(r) + " has a batch of " + std::to_string(r_outer) +
                             ", expected that of rank 0, " + std::to_string(held[0]));
    }
    return {layout, rank, ranks};
}

}  // namespace ring_attention
