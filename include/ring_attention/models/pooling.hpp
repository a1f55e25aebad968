#pragma once

#include <span>
#include <vector>

#include <ring_attention/models/options.hpp>
#include <ring_attention/ring/seat_sum.hpp>
#include <ring_attention/ring/seats.hpp>

namespace ring_attention {

// From the sequence, [batch * tokens, width] a seat, to one row a batch entry, and back.

/// [batch, width], the same on every rank: the last timestep, or the mean over the timesteps, summed in order
/// seat by seat.
template <class T, Ring R>
Matrix<T> pool(Output output, const Seats<T>& seats, Index batch, Index width, const Share& share, R& ring) {
    const Index seq_len = share.layout().seq_len();
    std::vector<Matrix<T>> sums;
    for (Index seat = 0; seat < share.num_seats(); ++seat) {
        const TokenRun tokens = share.tokens(seat);
        const Matrix<T>& rows = seats[std::size_t(seat)];
        const bool has_last = tokens.count_up_to(seq_len - 1) > tokens.count_up_to(seq_len - 2);
        if (output == Output::last_timestep && !has_last) continue;
        Matrix<T>& sum = sums.emplace_back(Matrix<T>::Zero(batch, width));
        const Index first = output == Output::last_timestep ? tokens.count - 1 : 0;
        for (Index b = 0; b < batch; ++b)
            for (Index token = first; token < tokens.count; ++token)
                sum.row(b) += rows.row(b * tokens.count + token);
    }
    std::vector<std::span<const T>> contributions;
    for (const Matrix<T>& sum : sums) contributions.emplace_back(sum.data(), std::size_t(sum.size()));
    Matrix<T> pooled = Matrix<T>::Zero(batch, width);
    add_in_seat_order(ring, std::span(pooled.data(), std::size_t(pooled.size())), contributions);
    if (output == Output::mean_pool) pooled /= T(seq_len);
    return pooled;
}

/// The gradient at every token of this rank from that of what pool() gave, [batch, width].
template <class T>
Seats<T> pool_backward(Output output, const Matrix<T>& d_pooled, const Share& share) {
    const Index batch = d_pooled.rows(), seq_len = share.layout().seq_len();
    Seats<T> seats;
    for (Index seat = 0; seat < share.num_seats(); ++seat) {
        const TokenRun tokens = share.tokens(seat);
        Matrix<T>& rows = seats.emplace_back(Matrix<T>::Zero(batch * tokens.count, d_pooled.cols()));
        for (Index row = 0; row < rows.rows(); ++row) {
            const Index b = row / tokens.count;
            if (output == Output::mean_pool)
                rows.row(row) = d_pooled.row(b) / T(seq_len);
            else if (tokens.position(row % tokens.count) == seq_len - 1)
                rows.row(row) = d_pooled.row(b);
        }
    }
    return seats;
}

}  // namespace ring_attention
