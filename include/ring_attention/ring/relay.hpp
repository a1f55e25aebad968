#pragma once

#include <algorithm>

#include <ring_attention/ring/ring.hpp>

namespace ring_attention {

/// Ring::relay for rings whose ranks can send(rank, channel, bytes) and receive(rank, channel, bytes): the
/// baton runs through the ranks in parts, so that they work side by side.
void relay_in_parts(auto& ring, std::span<std::byte> baton, auto&& add) {
    constexpr std::size_t part_size = std::size_t(1) << 18;
    const int rank = ring.rank(), last = ring.ranks() - 1;
    const auto for_each_part = [&](auto&& f) {
        for (std::size_t offset = 0; offset < baton.size(); offset += part_size)
            f(baton.subspan(offset, std::min(part_size, baton.size() - offset)), offset);
    };

    for_each_part([&](std::span<std::byte> part, std::size_t offset) {
        if (rank > 0) ring.receive(rank - 1, Channel::baton, part);
        add(part, offset);
        if (rank < last) ring.send(rank + 1, Channel::baton, part);
    });
    if (last == 0) return;
    for_each_part([&](std::span<std::byte> part, std::size_t) {  // the result: last, 0, 1, ..., last - 1
        if (rank != last) ring.receive(rank == 0 ? last : rank - 1, Channel::baton, part);
        if (rank != last - 1) ring.send(rank == last ? 0 : rank + 1, Channel::baton, part);
    });
}

}  // namespace ring_attention
