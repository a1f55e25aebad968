#pragma once

#include <array>
#include <chrono>

#include <ring_attention/kernels/simd.hpp>

namespace bench {

namespace ra = ring_attention;

class Stopwatch {
  public:
    double seconds() const {
        return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
    }

  private:
    std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

/// x <- x factor + addend on so many independent chains that no instruction waits for another, and so few
/// that all live in registers. Returns the flops done.
inline double run_fma_chains() {
    constexpr int chains = ra::detail::simd_registers - 4, steps = 4096;
    const volatile float half = 0.5f;  // x goes towards 1: neither overflow nor denormals
    const ra::detail::Simd<float> factor(half), addend(half);
    std::array<ra::detail::Simd<float>, chains> x;
    ra::detail::unrolled<chains>([&](auto i) { x[i] = ra::detail::Simd<float>(float(i)); });
    for (int step = 0; step < steps; ++step)
        ra::detail::unrolled<chains>([&](auto i) { x[i] = ra::detail::fma(x[i], factor, addend); });
    ra::detail::Simd<float> sum = 0;
    ra::detail::unrolled<chains>([&](auto i) { sum = sum + x[i]; });
    [[maybe_unused]] const volatile float used = ra::detail::horizontal_sum(sum);
    return 2.0 * steps * chains * ra::detail::Simd<float>::width;
}

/// Flops per second that fused multiply-adds reach on this thread in the next five milliseconds: all that the
/// core can give now. A machine's clock and neighbours change, so ask before and after each piece of work.
inline double fma_peak() {
    double flops = 0;
    const Stopwatch stopwatch;
    while (stopwatch.seconds() < 5e-3) flops += run_fma_chains();
    return flops / stopwatch.seconds();
}

}  // namespace bench
