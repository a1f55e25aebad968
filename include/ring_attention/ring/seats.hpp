#pragma once

#include <initializer_list>
#include <string>
#include <vector>

#include <ring_attention/core/types.hpp>
#include <ring_attention/ring/layout.hpp>
#include <ring_attention/ring/ring.hpp>

namespace ring_attention {

/// One matrix for each seat of a rank. Activations have a row a token, [batch * tokens of the seat, width];
/// queries and their kind have a row a token and head, [batch * heads * tokens of the seat, head_dim].
template <class T>
using Seats = List<Matrix<T>>;

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

/// Something that all ranks must have alike.
struct Agreed {
    const char* name;
    Index value;
};

/// Finds the whole sequence from what each rank holds. Throws an error that is the same on every rank:
/// RingError where the ranks do not have alike what they must, ShapeError where the tokens they hold are not
/// those of a Share of `num_chunks` seats.
template <Ring R>
Share agree_on_share(R& ring, Index num_chunks, Index local_tokens, std::initializer_list<Agreed> others) {
    std::vector<Agreed> agreed{{"num_chunks", num_chunks}};
    agreed.insert(agreed.end(), others);
    const Index row_size = Index(agreed.size()) + 1;
    Matrix<Index> told(ring.ranks(), row_size);  // a row a rank: its tokens, and what must be alike
    relay_numbers(
        ring, std::span(told.data(), std::size_t(told.size())), [&](std::span<Index> part, Index first) {
            for (Index i = 0; i < row_size; ++i) {
                const Index at = ring.rank() * row_size + i - first;
                if (at >= 0 && at < Index(part.size()))
                    part[std::size_t(at)] = i == 0 ? local_tokens : agreed[std::size_t(i - 1)].value;
            }
        });

    for (Index rank = 1; rank < told.rows(); ++rank)
        for (Index i = 1; i < row_size; ++i)
            if (told(rank, i) != told(0, i))
                throw RingError("rank " + std::to_string(rank) + " has " + agreed[std::size_t(i - 1)].name +
                                " " + std::to_string(told(rank, i)) + ", expected that of rank 0, " +
                                std::to_string(told(0, i)));
    const ChunkLayout layout(told.col(0).sum(), num_chunks);
    for (int rank = 0; rank < ring.ranks(); ++rank)
        if (const Share share(layout, rank, ring.ranks()); told(rank, 0) != share.num_tokens())
            throw ShapeError("rank " + std::to_string(rank) + " holds " + std::to_string(told(rank, 0)) +
                             " of " + std::to_string(layout.seq_len()) + " tokens, expected " +
                             std::to_string(share.num_tokens()));
    return {layout, ring.rank(), ring.ranks()};
}

}  // namespace ring_attention
