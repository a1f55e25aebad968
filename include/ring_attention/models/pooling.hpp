#pragma once

#include <algorithm>
#include <span>

#include <ring_attention/models/options.hpp>
#include <ring_attention/ring/sum_in_seat_order.hpp>
#include <ring_attention/sequence/activations.hpp>
#include <ring_attention/sequence/sequences.hpp>

namespace ring_attention::inline RING_ATTENTION_ABI {

// From the sequence, a row a token, to one row a batch entry, and back.

/// [batch, width], the same on every rank: the last timestep, or the mean over the timesteps, summed in order
/// seat by seat. `last` are the rows of the last token on the rank that holds it.
template <class T>
Matrix<T> pool_last(const Matrix<T>& last, Index batch, Index width, RingReference ring) {
    List<JoinedSpan<const T>> contributions;
    if (last.rows() > 0) contributions.push_back(detail::numbers_of(last));
    Matrix<T> pooled = Matrix<T>::Zero(batch, width);
    add_in_seat_order(ring, JoinedSpan<T>(detail::numbers_of(pooled)), contributions);
    return pooled;
}

/// The rows of each batch entry's last true token that this rank holds, 0 for the others.
template <class T>
Matrix<T> last_true_rows(const Matrix<T>& rows, Index batch, const Share& share, const Sequences& sequences) {
    Matrix<T> last = Matrix<T>::Zero(batch, rows.cols());
    for (Index seat = 0; seat < share.num_seats(); ++seat) {
        const TokenPositions tokens = share.tokens(seat);
        const IndexRange run = rows_of_seat(share, batch, seat);
        for (Index i = 0; i < run.count; ++i)
            if (tokens.position(i % tokens.count) ==
                sequences.length(i / tokens.count, share.layout().seq_len()) - 1)
                last.row(i / tokens.count) = rows.row(run.first + i);
    }
    return last;
}

template <class T>
Matrix<T> pool_mean(const Matrix<T>& rows, Index batch, Index width, const Share& share,
                    const Sequences& sequences, RingReference ring) {
    const Index seq_len = share.layout().seq_len();
    List<Matrix<T>> sums;
    for (Index seat = 0; seat < share.num_seats(); ++seat) {
        const TokenPositions tokens = share.tokens(seat);
        const IndexRange run = rows_of_seat(share, batch, seat);
        Matrix<T>& sum = sums.emplace_back(Matrix<T>::Zero(batch, width));
        for (Index i = 0; i < run.count; ++i)
            if (const Index b = i / tokens.count;
                tokens.position(i % tokens.count) < sequences.length(b, seq_len))
                sum.row(b) += rows.row(run.first + i);
    }
    List<JoinedSpan<const T>> contributions;
    for (const Matrix<T>& sum : sums) contributions.push_back(detail::numbers_of(sum));
    Matrix<T> pooled = Matrix<T>::Zero(batch, width);
    add_in_seat_order(ring, JoinedSpan<T>(detail::numbers_of(pooled)), contributions);
    for (Index b = 0; b < batch; ++b) pooled.row(b) /= T(std::max<Index>(1, sequences.length(b, seq_len)));
    return pooled;
}

/// The gradient at every token of this rank from that of what they gave, [batch, width].
template <class T>
Matrix<T> pool_backward(Output output, const Matrix<T>& d_pooled, const Share& share,
                        const Sequences& sequences) {
    const Index batch = d_pooled.rows();
    Matrix<T> rows = Matrix<T>::Zero(batch * share.num_tokens(), d_pooled.cols());
    for (Index seat = 0; seat < share.num_seats(); ++seat) {
        const TokenPositions tokens = share.tokens(seat);
        const IndexRange run = rows_of_seat(share, batch, seat);
        for (Index i = 0; i < run.count; ++i) {
            const Index b = i / tokens.count, position = tokens.position(i % tokens.count),
                        length = sequences.length(b, share.layout().seq_len());
            if (output == Output::mean_pool && position < length)
                rows.row(run.first + i) = d_pooled.row(b) / T(length);
            else if (output == Output::last_timestep && position == length - 1)
                rows.row(run.first + i) = d_pooled.row(b);
        }
    }
    return rows;
}

}  // namespace ring_attention::inline RING_ATTENTION_ABI
