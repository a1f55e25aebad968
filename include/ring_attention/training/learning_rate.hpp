#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numbers>

#include <ring_attention/core/abi.hpp>
#include <ring_attention/core/error.hpp>

namespace ring_attention::inline RING_ATTENTION_ABI {

/// Linear warm-up to the peak, then half a cosine down to `final_fraction` of it (Loshchilov, Hutter 2017,
/// 1608.03983).
struct WarmupCosine {
    double peak = 1e-3;
    std::int64_t warmup_steps = 100;
    std::int64_t total_steps = 1000;
    double final_fraction = 0.1;

    /// The learning rate of step 0, 1, ...; after total_steps it stays at the last. Throws Error where
    /// total_steps < 1 or warmup_steps < 0.
    double operator()(std::int64_t step) const {
        if (total_steps < 1 || warmup_steps < 0)
            throw Error("WarmupCosine: total_steps is " + std::to_string(total_steps) + " and warmup_steps " +
                        std::to_string(warmup_steps) + ", expected at least 1 and 0");
        if (step < warmup_steps) return peak * double(step + 1) / double(warmup_steps);
        const auto length = double(std::max<std::int64_t>(1, total_steps - warmup_steps));
        const double progress = std::min(1.0, double(step - warmup_steps) / length);
        const double cosine = 0.5 * (1 + std::cos(std::numbers::pi * progress));
        return peak * (final_fraction + (1 - final_fraction) * cosine);
    }
};

}  // namespace ring_attention::inline RING_ATTENTION_ABI
