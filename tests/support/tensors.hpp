#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <vector>

#include <ring_attention/core/tensor.hpp>
#include <ring_attention/core/types.hpp>

#include "inputs.hpp"

// Tensors for tests: filled with numbers, cut along the sequence and put together again.

namespace tensors {

namespace ra = ring_attention;

/// The numbers in row-major order as a tensor of that shape.
template <class T, std::size_t Rank, class Values>
ra::Tensor<T, int(Rank)> filled(const std::array<ra::Index, Rank>& shape, const Values& values) {
    ra::Tensor<T, int(Rank)> tensor(shape);
    std::transform(values.data(), values.data() + tensor.size(), tensor.data(),
                   [](auto value) { return T(value); });
    return tensor;
}

template <class T, std::size_t Rank>
ra::Tensor<T, int(Rank)> normal(const std::array<ra::Index, Rank>& shape, std::uint64_t seed,
                                double deviation = 1) {
    std::size_t size = 1;
    for (const ra::Index extent : shape) size *= std::size_t(extent);
    return filled<T>(shape, inputs::normal<T>(size, seed, deviation));
}

/// tensor[:, ..., first : first + count, ...] along `axis`.
template <class T, int Rank>
ra::Tensor<T, Rank> slice(const ra::Tensor<T, Rank>& tensor, std::size_t axis, ra::Index first,
                          ra::Index count) {
    auto offsets = tensor.dimensions(), extents = tensor.dimensions();
    offsets.fill(0);
    offsets[axis] = first;
    extents[axis] = count;
    ra::Tensor<T, Rank> part(extents);
    if (part.size() > 0) part = tensor.slice(offsets, extents);
    return part;
}

/// The parts one after the other along `axis`.
template <class T, int Rank>
ra::Tensor<T, Rank> join(const std::vector<ra::Tensor<T, Rank>>& parts, std::size_t axis) {
    auto extents = parts.front().dimensions(), offsets = extents;
    offsets.fill(0);
    extents[axis] = 0;
    for (const auto& part : parts) extents[axis] += part.dimension(axis);
    ra::Tensor<T, Rank> whole(extents);
    for (const auto& part : parts) {
        if (part.size() > 0) whole.slice(offsets, part.dimensions()) = part;
        offsets[axis] += part.dimension(axis);
    }
    return whole;
}

}  // namespace tensors
