#pragma once

#include <algorithm>
#include <array>
#include <span>
#include <string>

#include <ring_attention/core/tensor.hpp>
#include <ring_attention/ring/ring_reference.hpp>
#include <ring_attention/sequence/share.hpp>

namespace ring_attention::inline RING_ATTENTION_ABI {

// For those who have the whole sequence: from it to what each rank holds, and back. `axis` is the one of the
// tokens: 1 in what goes into a model, 2 in [batch, heads, seq_len, head_dim].

namespace detail {

/// Calls f(number in the whole, number in the part, how many) for the runs of neighbours that the part and
/// the whole have in common.
template <std::size_t rank>
void for_each_common_run(const std::array<Eigen::Index, rank>& whole, const Share& share, std::size_t axis,
                         auto&& f) {
    Index outer = 1, inner = 1;
    for (std::size_t i = 0; i < rank; ++i) (i < axis ? outer : inner) *= i == axis ? 1 : whole[i];
    const List<Index> positions = share.positions();
    for (Index o = 0; o < outer; ++o)
        for (std::size_t i = 0; i < positions.size(); ++i)
            f((o * whole[axis] + positions[i]) * inner, (o * Index(positions.size()) + Index(i)) * inner,
              inner);
}

template <std::size_t rank>
void require_tokens(const char* what, const std::array<Eigen::Index, rank>& shape, std::size_t axis,
                    Index expected) {
    if (axis >= rank || shape[axis] != expected)
        throw ShapeError(std::string(what) + " has shape " + shape_text(shape) + ", expected " +
                         std::to_string(expected) + " tokens on axis " + std::to_string(axis));
    require_countable(what, shape);
}

}  // namespace detail

/// The tokens of a share out of the whole sequence. Throws ShapeError where the length is not the layout's.
template <class T, int rank>
Tensor<T, rank> tokens_of(const Tensor<T, rank>& whole, const Share& share, std::size_t axis = 1) {
    detail::require_tokens("the whole", whole.dimensions(), axis, share.layout().seq_len());
    auto extents = whole.dimensions();
    extents[axis] = Eigen::Index(share.num_tokens());
    Tensor<T, rank> part(extents);
    detail::for_each_common_run<std::size_t(rank)>(
        whole.dimensions(), share, axis, [&](Index in_whole, Index in_part, Index count) {
            std::copy_n(whole.data() + in_whole, count, part.data() + in_part);
        });
    return part;
}

/// Writes the tokens of a share to their places in the whole sequence. Throws ShapeError where they do not
/// fit.
template <class T, int rank>
void put_tokens(const Tensor<T, rank>& part, const Share& share, Tensor<T, rank>& whole,
                std::size_t axis = 1) {
    detail::require_tokens("the whole", whole.dimensions(), axis, share.layout().seq_len());
    auto extents = whole.dimensions();
    extents[axis] = Eigen::Index(share.num_tokens());
    require_shape("the part", part.dimensions(), extents);
    detail::for_each_common_run<std::size_t(rank)>(
        whole.dimensions(), share, axis, [&](Index in_whole, Index in_part, Index count) {
            std::copy_n(part.data() + in_part, count, whole.data() + in_whole);
        });
}

/// Gives every rank its tokens of what rank 0 has (the others' `whole` is not looked at).
template <class T, int rank>
Tensor<T, rank> scatter(RingReference ring, const Tensor<T, rank>& whole, const Share& share,
                        std::size_t axis = 1) {
    auto extents = whole.dimensions();
    const auto extents_bytes = std::as_writable_bytes(std::span(extents));
    if (ring.rank() > 0) {
        ring.receive(0, Channel::collective, extents_bytes);
        extents[axis] = Eigen::Index(share.num_tokens());
        Tensor<T, rank> part(extents);
        ring.receive(0, Channel::collective, std::as_writable_bytes(detail::numbers_of(part)));
        return part;
    }
    for (int to = 1; to < ring.ranks(); ++to) {
        const Tensor<T, rank> part = tokens_of(whole, share.of_neighbour(to), axis);
        ring.send(to, Channel::collective, extents_bytes);
        ring.send(to, Channel::collective, std::as_bytes(detail::numbers_of(part)));
    }
    return tokens_of(whole, share, axis);
}

/// The whole on rank 0, of what each rank has; nothing elsewhere.
template <class T, int rank>
Tensor<T, rank> gather(RingReference ring, const Tensor<T, rank>& part, const Share& share,
                       std::size_t axis = 1) {
    auto extents = part.dimensions();
    detail::require_tokens("the part", extents, axis, share.num_tokens());
    if (ring.rank() > 0) {
        ring.send(0, Channel::collective, std::as_bytes(detail::numbers_of(part)));
        return {};
    }
    extents[axis] = Eigen::Index(share.layout().seq_len());
    Tensor<T, rank> whole(extents);
    put_tokens(part, share, whole, axis);
    for (int from = 1; from < ring.ranks(); ++from) {
        const Share theirs = share.of_neighbour(from);
        extents[axis] = Eigen::Index(theirs.num_tokens());
        Tensor<T, rank> other(extents);
        ring.receive(from, Channel::collective, std::as_writable_bytes(detail::numbers_of(other)));
        put_tokens(other, theirs, whole, axis);
    }
    return whole;
}

}  // namespace ring_attention::inline RING_ATTENTION_ABI
