#include <cmath>
#include <random>
#include <vector>

#include <doctest/doctest.h>

#include <ring_attention/io/weights.hpp>
#include <ring_attention/layers/dense.hpp>
#include <ring_attention/training/checkpoint.hpp>
#include <ring_attention/training/clip.hpp>

#include "support/error_message.hpp"
#include "support/temporary_folder.hpp"

namespace ra = ring_attention;

namespace {

using Model = ra::Dense<double, 3, 2>;

Model gradient_of_step(int step) {
    Model gradient;
    for (ra::Index i = 0; i < 6; ++i) gradient.kernel.data()[i] = std::sin(double(step * 6 + i));
    for (ra::Index i = 0; i < 2; ++i) gradient.bias[i] = std::cos(double(step * 2 + i));
    return gradient;
}

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

TEST_CASE("training that goes on from a checkpoint takes the same steps to the bit") {
    const TemporaryFolder folder;
    Model model, resumed;
    model.kernel.setConstant(1);
    ra::AdamW optimiser(model), resumed_optimiser(resumed);
    for (int step = 0; step < 5; ++step) optimiser.step(model, gradient_of_step(step), 0.01);
    ra::save(ra::Checkpoint<Model>{model, optimiser}, folder.path() / "checkpoint.safetensors");

    ra::Checkpoint<Model> into{resumed, resumed_optimiser};
    ra::load(into, folder.path() / "checkpoint.safetensors");
    for (int step = 5; step < 10; ++step) {
        optimiser.step(model, gradient_of_step(step), 0.01);
        resumed_optimiser.step(resumed, gradient_of_step(step), 0.01);
    }
    CHECK(resumed_optimiser.steps_taken[0] == 10);
    CHECK(resumed.kernel == model.kernel);
    CHECK(resumed.bias == model.bias);
}

TEST_CASE("clipping scales a gradient to the norm, and leaves a smaller one alone") {
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
