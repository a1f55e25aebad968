#pragma once

#include <array>
#include <chrono>

#include <ring_attention/kernels/bfloat16_pairs.hpp>
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

/// x <- step(x) on so many independent chains that no instruction waits for another, and so few that all live
/// in registers. Returns the steps done, of all lanes.
inline double run_chains(const auto& step) {
    constexpr int chains = ra::detail::simd_registers - 4, steps = 4096;
    std::array<ra::detail::Simd<float>, chains> x;
    ra::detail::unrolled<chains>([&](auto i) { x[i] = ra::detail::Simd<float>(float(i)); });
    for (int done = 0; done < steps; ++done) ra::detail::unrolled<chains>([&](auto i) { x[i] = step(x[i]); });
    ra::detail::Simd<float> sum = 0;
    ra::detail::unrolled<chains>([&](auto i) { sum = sum + x[i]; });
    [[maybe_unused]] const volatile float used = ra::detail::horizontal_sum(sum);
    return 1.0 * steps * chains * ra::detail::Simd<float>::width;
}

/// Returns the flops done.
inline double run_fma_chains() {
    const volatile float half = 0.5f;  // x goes towards 1: neither overflow nor denormals
    const ra::detail::Simd<float> factor(half), addend(half);
    return 2 * run_chains([&](ra::detail::Simd<float> x) { return fma(x, factor, addend); });
}

/// The same of products of pairs of bfloat16, two multiply-adds a lane.
inline double run_pair_chains() {
    const volatile float half = 0.5f;
    const ra::detail::Simd<float> a(half);  // x + a a - a a
    const ra::detail::Bfloat16Pairs left = ra::detail::rounded_pairs(a, a),
                                    right = ra::detail::rounded_pairs(a, -a);
    return 4 * run_chains([&](ra::detail::Simd<float> x) { return fma(left, right, x); });
}

/// Flops per second that such chains reach on this thread in the next five milliseconds.
inline double flops_per_second(double (*run)()) {
    double flops = 0;
    const Stopwatch stopwatch;
    while (stopwatch.seconds() < 5e-3) flops += run();
    return flops / stopwatch.seconds();
}

/// Of fused multiply-adds: all that the core can give now. A machine's clock and neighbours change, so ask
/// before and after each piece of work.
inline double fma_peak() {
    return flops_per_second(run_fma_chains);
}

inline double pair_peak() {
    return flops_per_second(run_pair_chains);
}

}  // namespace bench
