#pragma once

#include <algorithm>
#include <vector>

#include <doctest/doctest.h>

#include <ring_attention/sequence/token_positions.hpp>

namespace support {

namespace ra = ring_attention;
using ra::Index;
using Positions = std::vector<Index>;

/// One token after the other, as the docstring of TokenPositions says.
inline Positions walk(const ra::TokenPositions& run) {
    Positions positions;
    Index next = run.first;
    for (Index i = 0; i < run.count; ++i, next += run.stride) {
        if (i == run.gap_at) next += run.gap;
        positions.push_back(next);
    }
    return positions;
}

inline Positions ask(const ra::TokenPositions& run) {
    Positions positions;
    for (Index i = 0; i < run.count; ++i) positions.push_back(run.position(i));
    return positions;
}

inline Index count_up_to(const Positions& positions, Index position) {
    return std::count_if(positions.begin(), positions.end(), [&](Index other) { return other <= position; });
}

/// Calls f(run) for runs of up to 7 tokens of all strides, gaps and places of the gap.
template <class F>
void for_each_run(const F& f) {
    for (const Index first : {0, 3})
        for (Index count = 0; count <= 7; ++count)
            for (Index stride = 1; stride <= 4; ++stride)
                for (const Index gap : {0, 1, 2, 9})
                    for (Index gap_at = 0; gap_at <= count; ++gap_at) {
                        CAPTURE(first);
                        CAPTURE(count);
                        CAPTURE(stride);
                        CAPTURE(gap_at);
                        CAPTURE(gap);
                        f(ra::TokenPositions{first, count, stride, gap_at, gap});
                    }
}

}  // namespace support
