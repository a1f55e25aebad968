#pragma once

#include <algorithm>

#include <ring_attention/core/parallel.hpp>
#include <ring_attention/kernels/simd.hpp>

#include "fma_peak.hpp"

namespace bench {

namespace ra = ring_attention;

/// The sum of so many numbers, a multiple of 16 vectors, as fast as one thread can read them.
inline float read_numbers(const float* numbers, ra::Index count) {
    constexpr int sums = 16, width = ra::detail::Simd<float>::width;
    ra::detail::Simd<float> sum[sums];
    ra::detail::unrolled<sums>([&](auto i) { sum[i] = ra::detail::Simd<float>(0.0f); });
    for (ra::Index at = 0; at < count; at += sums * width)
        ra::detail::unrolled<sums>(
            [&](auto i) { sum[i] = sum[i] + ra::detail::Simd<float>::load(numbers + at + i * width); });
    ra::detail::unrolled<sums - 1>([&](auto i) { sum[0] = sum[0] + sum[i + 1]; });
    return ra::detail::horizontal_sum(sum[0]);
}

/// Reads them all once, on all threads, in runs of 256 KiB: the seconds that it takes.
inline double seconds_to_read(const float* numbers, ra::Index count) {
    constexpr ra::Index run = 65536;
    const Stopwatch stopwatch;
    ra::parallel_for((count + run - 1) / run, [&](ra::Index i) {
        [[maybe_unused]] const volatile float used =
            read_numbers(numbers + i * run, std::min(run, count - i * run));
    });
    return stopwatch.seconds();
}

}  // namespace bench
