#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include <ring_attention/ring/ring.hpp>

namespace support {

namespace ra = ring_attention;

/// A relayed baton that gathers, in each number, the ranks that it has met, as digits of base 10, and where
/// the number stands.
std::vector<double> relayed(ra::Ring auto& ring, std::size_t size) {
    std::vector<double> baton(size, ring.rank() == 0 ? 1 : -1);  // only rank 0's counts
    ra::relay_numbers(ring, std::span(baton), [&](std::span<double> part, ra::Index first) {
        for (std::size_t i = 0; i < part.size(); ++i)
            part[i] = 10 * part[i] + ring.rank() + double(std::size_t(first) + i) / 1e6;
    });
    return baton;
}

inline std::vector<double> expected_baton(int ranks, std::size_t size) {
    std::vector<double> baton(size, 1);
    for (int rank = 0; rank < ranks; ++rank)
        for (std::size_t i = 0; i < size; ++i) baton[i] = 10 * baton[i] + rank + double(i) / 1e6;
    return baton;
}

/// Sizes around that of the parts in which a baton travels.
inline std::vector<std::size_t> baton_sizes() {
    const std::size_t part = (std::size_t(1) << 18) / sizeof(double);
    return {0, 1, part - 1, part, part + 1, 3 * part + 5};
}

}  // namespace support
