#pragma once

#include <span>

#include <ring_attention/core/memory.hpp>
#include <ring_attention/ring/ring.hpp>

namespace ring_attention {

/// Adds to rank 0's total what the seats contribute, seat 0 first, and gives the result to every rank. Each
/// rank names what its own seats contribute, in seat order; each contribution has the size of the total.
template <class T, Ring R>
void add_in_seat_order(R& ring, std::span<T> total, const List<std::span<const T>>& contributions) {
    relay_numbers(ring, total, [&](std::span<T> part, Index first) {
        for (const std::span<const T> seat : contributions)
            for (std::size_t i = 0; i < part.size(); ++i) part[i] += seat[std::size_t(first) + i];
    });
}

}  // namespace ring_attention
