#include <doctest/doctest.h>

#include <ring_attention/io/weights.hpp>
#include <ring_attention/training/checkpoint.hpp>

#include "support/small_gradient.hpp"
#include "support/temporary_folder.hpp"

namespace training_checkpoint {

namespace ra = ring_attention;

namespace {

using Model = support::SmallModel;
using support::gradient_of_step;

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

}  // namespace training_checkpoint
