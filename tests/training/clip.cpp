#include <cmath>

#include <doctest/doctest.h>

#include <ring_attention/layers/dense.hpp>
#include <ring_attention/training/clip.hpp>

#include "support/error_message.hpp"

namespace training_clip {

namespace ra = ring_attention;

TEST_CASE("clipping scales a gradient to the norm, and leaves a smaller one alone") {
    using Model = ra::Dense<double, 3, 2>;
    Model gradient;
    gradient.kernel.setConstant(2);
    gradient.bias.setConstant(-2);
    CHECK(ra::global_norm(gradient) == doctest::Approx(std::sqrt(32.0)));
    CHECK(ra::clip_by_global_norm(gradient, 10) == doctest::Approx(std::sqrt(32.0)));
    CHECK(gradient.kernel(0, 0) == 2);
    CHECK(ra::clip_by_global_norm(gradient, 1) == doctest::Approx(std::sqrt(32.0)));
    CHECK(ra::global_norm(gradient) == doctest::Approx(1));
    CHECK(gradient.bias[0] == doctest::Approx(-2 / std::sqrt(32.0)));

    gradient.bias[0] = std::nan("");
    const Model before = gradient;
    CHECK(std::isnan(ra::clip_by_global_norm(gradient, 0.1)));
    CHECK(gradient.kernel == before.kernel);
    CHECK_REFUSES(ra::clip_by_global_norm(gradient, 0), "max_norm");
}

}  // namespace training_clip
