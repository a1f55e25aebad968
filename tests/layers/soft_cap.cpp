#include <cmath>

#include <doctest/doctest.h>

#include <ring_attention/layers/soft_cap.hpp>

#include "support/layer_case.hpp"

namespace layers_soft_cap {

namespace ra = ring_attention;

TEST_CASE("soft cap: finite differences") {
    support::check_layer<ra::SoftCap<double, 5, ra::SoftCapOptions{.cap = 1.5f}>>(
        {.batch = 2, .seq_len = 3, .num_seats = 2});
}

TEST_CASE_TEMPLATE("soft cap: cap tanh(x / cap), however far out", T, float, double) {
    using R = long double;
    std::vector<R> x, expected;
    for (int i = -200; i <= 200; ++i) {
        x.push_back(R(i));
        expected.push_back(30 * std::tanh(R(i) / 30));
    }
    const double unit = double(std::numeric_limits<T>::epsilon());
    support::check_forward(ra::SoftCap<T, 1, ra::SoftCapOptions{.cap = 30}>{}, x, expected, 100 * unit);
}

}  // namespace layers_soft_cap
