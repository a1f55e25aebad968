#include <cmath>

#include <doctest/doctest.h>

#include <ring_attention/io/weights.hpp>
#include <ring_attention/layers/dense.hpp>
#include <ring_attention/training/checkpoint.hpp>

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

}  // namespace

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
