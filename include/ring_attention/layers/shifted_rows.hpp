#pragma once

#include <algorithm>
#include <cstddef>
#include <span>
#include <utility>
#include <vector>

#include <ring_attention/layers/layer.hpp>

namespace ring_attention::inline RING_ATTENTION_ABI {

namespace detail {

/// Calls f(batch entry, position of a token, of the one that comes to stand there, the rank of that one) for
/// the tokens of a share, seat by seat, where there is one in the same document.
void for_each_shifted_token(const Share& share, Index offset, const Pass& pass, auto&& f) {
    const ChunkLayout& layout = share.layout();
    for (Index seat = 0; seat < share.num_seats(); ++seat) {
        const TokenPositions tokens = share.tokens(seat);
        for (Index i = 0; i < tokens.count; ++i) {
            const Index to = tokens.position(i), from = to + offset;
            if (from < 0 || from >= layout.seq_len() || pass.document_start(from) != pass.document_start(to))
                continue;
            const Index rank = part_of(layout.num_seats(), share.ranks(), layout.seat_of(from));
            for (Index b = 0; b < pass.batch; ++b) f(b, to, from, int(rank));
        }
    }
}

/// The row of a token that the share holds.
inline Index row_of_token(const Share& share, Index batch, Index entry, Index position) {
    const Index seat = share.layout().seat_of(position) - share.first_seat();
    const TokenPositions tokens = share.tokens(seat);
    return rows_of_seat(share, batch, seat).first + entry * tokens.count +
           tokens.indices({position, 1}).first;
}

}  // namespace detail

/// For a layer in which a token sees its neighbours: row i of the result is that of the token `offset`
/// positions after that of row i (before it, where the offset is negative), and 0 where its document has no
/// such token. Those that other ranks hold come over the ring: all ranks call it together. The opposite
/// offset takes gradients back: the sum of d * shifted_rows(x, o) is that of shifted_rows(d, -o) * x.
template <class T>
Matrix<T> shifted_rows(const Matrix<T>& rows, Index offset, const Pass& pass) {
    const Share& share = pass.share;
    const int ranks = share.ranks(), own = share.rank();
    const Index width = rows.cols();
    const auto row_of = [&](Index entry, Index position) {
        return detail::row_of_token(share, pass.batch, entry, position);
    };
    Matrix<T> shifted = Matrix<T>::Zero(rows.rows(), width);

    std::vector<List<T>> outgoing(static_cast<std::size_t>(ranks)), incoming(outgoing.size());
    List<std::pair<Index, int>> expected;  // rows and the ranks that have what belongs there
    detail::for_each_shifted_token(share, offset, pass, [&](Index b, Index to, Index from, int rank) {
        if (rank == own)
            shifted.row(row_of(b, to)) = rows.row(row_of(b, from));
        else
            expected.emplace_back(row_of(b, to), rank);
    });
    HopMessages messages{Channel::collective};
    for (int hops = 1; hops < ranks; ++hops) {
        const Share theirs = share.of_neighbour(hops);
        List<T>& sent = outgoing[std::size_t(theirs.rank())];
        detail::for_each_shifted_token(theirs, offset, pass, [&](Index b, Index, Index from, int rank) {
            if (rank != own) return;
            const T* const row = rows.row(row_of(b, from)).data();
            sent.insert(sent.end(), row, row + width);
        });
        messages.send(theirs.rank(), std::as_bytes(std::span(sent)));
    }
    for (int rank = 0; rank < ranks; ++rank) {
        const auto count = std::count_if(expected.begin(), expected.end(),
                                         [&](const auto& row) { return row.second == rank; });
        incoming[std::size_t(rank)].resize(std::size_t(count * width));
        messages.receive(rank, std::as_writable_bytes(std::span(incoming[std::size_t(rank)])));
    }
    if (ranks > 1) pass.ring.start_hop(messages).finish();

    List<Index> taken(static_cast<std::size_t>(ranks), 0);
    for (const auto& [row, rank] : expected) {
        std::copy_n(incoming[std::size_t(rank)].begin() + taken[std::size_t(rank)], width,
                    shifted.row(row).data());
        taken[std::size_t(rank)] += width;
    }
    return shifted;
}

}  // namespace ring_attention::inline RING_ATTENTION_ABI
