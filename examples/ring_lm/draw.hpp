#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <span>
#include <vector>

#include <ring_attention/core/error.hpp>

namespace ring_lm {

/// Draws a token from softmax(logits / temperature) with a number in (0, 1); the likeliest token at
/// temperature 0. Throws ring_attention::Error where a logit is not finite.
inline std::ptrdiff_t draw_token(std::span<const float> logits, double temperature, double uniform) {
    if (!std::all_of(logits.begin(), logits.end(), [](float x) { return std::isfinite(x); }))
        throw ring_attention::Error("the weights are of no use: what they make of the text is not finite");
    const auto best = std::max_element(logits.begin(), logits.end());
    if (temperature == 0) return best - logits.begin();
    std::vector<double> cumulative;
    for (const float logit : logits)
        cumulative.push_back((cumulative.empty() ? 0 : cumulative.back()) +
                             std::exp(double(logit - *best) / temperature));
    const auto drawn = std::upper_bound(cumulative.begin(), cumulative.end(), uniform * cumulative.back());
    return std::min<std::ptrdiff_t>(drawn - cumulative.begin(), std::ptrdiff_t(logits.size()) - 1);
}

}  // namespace ring_lm
