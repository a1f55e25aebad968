#include <limits>
#include <vector>

#include <doctest/doctest.h>

#include <ring_attention/layers/activation.hpp>

#include "support/layer_case.hpp"
#include "support/layer_oracle.hpp"

namespace layers_activation {

namespace ra = ring_attention;
using enum ra::ActivationKind;

TEST_CASE("activation: finite differences") {
    support::check_layer<ra::Activation<double, 5, gelu_tanh>>({.batch = 2, .seq_len = 3, .num_seats = 2});
    support::check_layer<ra::Activation<double, 5, silu>>({.batch = 2, .seq_len = 3, .num_seats = 2});
    support::check_layer<ra::Activation<double, 5, relu>>({.batch = 2, .seq_len = 3, .num_seats = 2});
}

TEST_CASE_TEMPLATE("activation: each by its definition", T, float, double) {
    using R = long double;
    const auto x = inputs::widen<R>(inputs::normal<T>(1000, 1));
    const double tolerance = 4 * double(std::numeric_limits<T>::epsilon());
    support::check_forward(ra::Activation<T, 4, gelu>{}, x, oracle::gelu(x), tolerance);
    support::check_forward(ra::Activation<T, 4, gelu_tanh>{}, x, oracle::gelu_tanh(x), tolerance);
    support::check_forward(ra::Activation<T, 4, silu>{}, x, oracle::silu(x), tolerance);
    support::check_forward(ra::Activation<T, 4, relu>{}, x, oracle::relu(x), 1e-30);
}

}  // namespace layers_activation
