#pragma once

#include <cmath>

#include <ring_attention/layers/dense.hpp>

namespace support {

/// A model that is small enough to follow one weight of it, and a gradient for each step.
using SmallModel = ring_attention::Dense<double, 3, 2>;

inline SmallModel gradient_of_step(int step) {
    SmallModel gradient;
    for (ring_attention::Index i = 0; i < 6; ++i) gradient.kernel.data()[i] = std::sin(double(step * 6 + i));
    for (ring_attention::Index i = 0; i < 2; ++i) gradient.bias[i] = std::cos(double(step * 2 + i));
    return gradient;
}

}  // namespace support
