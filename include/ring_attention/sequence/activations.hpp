#pragma once

#include <algorithm>

#include <ring_attention/core/parallel.hpp>
#include <ring_attention/core/types.hpp>
#include <ring_attention/sequence/share.hpp>

namespace ring_attention::inline RING_ATTENTION_ABI {

// Activations of a rank: a matrix with a row a token, seat by seat; those of a seat are [batch, tokens of the
// seat].

/// The rows of one seat.
IndexRange rows_of_seat(const auto& share, Index batch, Index seat) {
    return {batch * share.tokens_before(seat), batch * share.tokens(seat).count};
}

/// Those of each seat.
List<IndexRange> rows_of_seats(const auto& share, Index batch) {
    List<IndexRange> rows;
    rows.reserve(std::size_t(share.num_seats()));
    for (Index seat = 0; seat < share.num_seats(); ++seat) rows.push_back(rows_of_seat(share, batch, seat));
    return rows;
}

namespace detail {

/// Calls f(number of the token in [batch, tokens], its row) for all tokens of a rank, on all threads.
void for_each_token_and_row(const Share& share, Index batch, auto&& f) {
    for (Index seat = 0; seat < share.num_seats(); ++seat) {
        const TokenPositions places = share.places(seat);
        const IndexRange rows = rows_of_seat(share, batch, seat);
        parallel_for_in_runs(rows.count, 256, [&](Index i) {
            f(i / places.count * share.num_tokens() + places.position(i % places.count), rows.first + i);
        });
    }
}

}  // namespace detail

/// The rank's [batch, tokens, width] numbers as activations.
template <class T>
Matrix<T> enter_seats(const T* numbers, Index batch, Index width, const Share& share) {
    Matrix<T> rows(batch * share.num_tokens(), width);
    detail::for_each_token_and_row(share, batch, [&](Index token, Index row) {
        std::copy_n(numbers + token * width, width, rows.data() + row * width);
    });
    return rows;
}

/// The inverse of enter_seats.
template <class T>
void leave_seats(const Matrix<T>& rows, Index batch, const Share& share, T* numbers) {
    const Index width = rows.cols();
    detail::for_each_token_and_row(share, batch, [&](Index token, Index row) {
        std::copy_n(rows.data() + row * width, width, numbers + token * width);
    });
}

}  // namespace ring_attention::inline RING_ATTENTION_ABI
