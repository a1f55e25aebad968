#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>

#include <ring_attention/core/fingerprint.hpp>
#include <ring_attention/core/memory.hpp>
#include <ring_attention/core/types.hpp>
#include <ring_attention/ring/exchange_with_all.hpp>
#include <ring_attention/ring/ring_reference.hpp>
#include <ring_attention/sequence/share.hpp>

namespace ring_attention::inline RING_ATTENTION_ABI {

/// Something that all ranks must have alike, and how its value is told: a fingerprint is not.
struct Agreed {
    const char* name;
    Index value;
    std::string (*text)(Index) = [](Index number) { return std::to_string(number); };
};

/// For Agreed.
inline Agreed agreed_fingerprint(const char* name, std::uint64_t value) {
    return {name, Index(value), nullptr};
}

namespace detail {

/// What must be alike on all ranks but is too long to be told.
inline Agreed agreed_numbers(const char* name, auto* numbers, std::size_t count) {
    return agreed_fingerprint(name, fingerprint(std::as_bytes(std::span(numbers, count))));
}
inline Agreed agreed_numbers(const char* name, const auto& vector) {
    return agreed_numbers(name, vector.data(), vector.size());
}

/// "rank 1 has batch 2, expected that of rank 0, 1", "rank 1 has other weights than rank 0"
inline std::string disagreement(Index rank, const Agreed& on, Index value, Index expected) {
    const std::string who = "rank " + std::to_string(rank) + " has ";
    if (!on.text) return who + "other " + on.name + " than rank 0";
    return who + on.name + " " + on.text(value) + ", expected that of rank 0, " + on.text(expected);
}

/// told: a row a rank, its values of `agreed`. Throws RingError for the first that another rank has than
/// rank 0.
inline void require_alike(const auto& told, const List<Agreed>& agreed) {
    for (Index rank = 1; rank < told.rows(); ++rank)
        for (Index i = 0; i < told.cols(); ++i)
            if (told(rank, i) != told(0, i))
                throw RingError(disagreement(rank, agreed[std::size_t(i)], told(rank, i), told(0, i)));
}

}  // namespace detail

/// Throws RingError, the same on every rank, where the ranks do not have all of these alike. One hop.
inline void agree(RingReference ring, const List<Agreed>& on) {
    if (ring.ranks() == 1) return;
    const auto row_size = std::size_t(on.size());
    Matrix<Index> told(ring.ranks(), Index(row_size));
    const auto row = [&](int rank) { return std::span(&told(rank, 0), row_size); };
    for (std::size_t i = 0; i < row_size; ++i) row(ring.rank())[i] = on[i].value;
    exchange_with_all(ring, Channel::collective, std::as_bytes(row(ring.rank())),
                      [&](int rank) { return std::as_writable_bytes(row(rank)); });
    detail::require_alike(told, on);
}

/// Finds the whole sequence from what each rank holds. Throws an error that is the same on every rank:
/// RingError where the ranks do not have alike what they must, ShapeError where the tokens they hold are not
/// those of a Share of `num_chunks` seats.
inline Share agree_on_share(RingReference ring, Index num_chunks, Layout chunk_layout, Index local_tokens,
                            std::initializer_list<Agreed> others) {
    List<Agreed> agreed{
        {"num_chunks", num_chunks},
        {"layout", Index(chunk_layout), [](Index which) -> std::string { return name_of(Layout(which)); }}};
    agreed.insert(agreed.end(), others);
    const Index row_size = Index(agreed.size()) + 1;
    Matrix<Index> told(ring.ranks(), row_size);  // a row a rank: its tokens, and what must be alike
    sum_numbers_in_rank_order(ring, detail::numbers_of(told), [&](std::span<Index> part, Index first) {
        for (Index i = 0; i < row_size; ++i) {
            const Index at = ring.rank() * row_size + i - first;
            if (at >= 0 && at < Index(part.size()))
                part[std::size_t(at)] = i == 0 ? local_tokens : agreed[std::size_t(i - 1)].value;
        }
    });

    detail::require_alike(told.rightCols(row_size - 1), agreed);
    const ChunkLayout layout(told.col(0).sum(), num_chunks, chunk_layout);
    for (int rank = 0; rank < ring.ranks(); ++rank)
        if (const Share share(layout, rank, ring.ranks()); told(rank, 0) != share.num_tokens())
            throw ShapeError("rank " + std::to_string(rank) + " holds " + std::to_string(told(rank, 0)) +
                             " of " + std::to_string(layout.seq_len()) + " tokens, expected " +
                             std::to_string(share.num_tokens()));
    return {layout, ring.rank(), ring.ranks()};
}

}  // namespace ring_attention::inline RING_ATTENTION_ABI
