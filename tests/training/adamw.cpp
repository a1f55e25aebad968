#include <cmath>

#include <doctest/doctest.h>

#include <ring_attention/training/adamw.hpp>

#include "support/small_gradient.hpp"

namespace ra = ring_attention;

namespace {

using Model = support::SmallModel;
using support::gradient_of_step;

/// One weight by the letter of the paper's algorithm.
struct PlainAdamW {
    double weight, decay, first = 0, second = 0;

    void step(double g, int t, double rate, const ra::AdamWOptions& o) {
        first = o.beta1 * first + (1 - o.beta1) * g;
        second = o.beta2 * second + (1 - o.beta2) * g * g;
        const double m = first / (1 - std::pow(o.beta1, t)), v = second / (1 - std::pow(o.beta2, t));
        weight -= rate * (m / (std::sqrt(v) + o.epsilon) + decay * weight);
    }
};

}  // namespace

TEST_CASE("AdamW follows the paper, with decay on matrices only") {
    const ra::AdamWOptions options{.beta1 = 0.8, .beta2 = 0.9, .epsilon = 1e-6, .weight_decay = 0.3};
    Model model;
    model.kernel.setConstant(0.5);
    model.bias.setConstant(0.5);
    ra::AdamW optimiser(model, options);
    PlainAdamW kernel{0.5, 0.3}, bias{0.5, 0};
    for (int step = 1; step <= 20; ++step) {
        const Model gradient = gradient_of_step(step);
        optimiser.step(model, gradient, 0.01 * step);
        kernel.step(gradient.kernel(1, 1), step, 0.01 * step, options);
        bias.step(gradient.bias[1], step, 0.01 * step, options);
        CHECK(model.kernel(1, 1) == doctest::Approx(kernel.weight).epsilon(1e-13));
        CHECK(model.bias[1] == doctest::Approx(bias.weight).epsilon(1e-13));
    }
}
