#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include <ring_attention/ring/ring_reference.hpp>

namespace support {

namespace ra = ring_attention;

/// Sums that gather, in each number, the ranks that it has met, as digits of base 10, and where
/// the number stands.
std::vector<double> sums_in_rank_order(ra::Ring auto& ring, std::size_t size) {
    std::vector<double> sums(size, ring.rank() == 0 ? 1 : -1);  // only rank 0's counts
    ra::sum_numbers_in_rank_order(ring, std::span(sums), [&](std::span<double> part, ra::Index first) {
        for (std::size_t i = 0; i < part.size(); ++i)
            part[i] = 10 * part[i] + ring.rank() + double(std::size_t(first) + i) / 1e6;
    });
    return sums;
}

inline std::vector<double> expected_sums(int ranks, std::size_t size) {
    std::vector<double> sums(size, 1);
    for (int rank = 0; rank < ranks; ++rank)
        for (std::size_t i = 0; i < size; ++i) sums[i] = 10 * sums[i] + rank + double(i) / 1e6;
    return sums;
}

/// Sizes around those of the smallest and largest parts in which sums travel, and many of these.
inline std::vector<std::size_t> sizes_of_sums() {
    const std::size_t small = (std::size_t(1) << 14) / sizeof(double),
                      large = (std::size_t(1) << 18) / sizeof(double);
    return {0, 1, small - 1, small, small + 1, large - 1, large, large + 1, 3 * large + 5, 30 * large + 7};
}

}  // namespace support
