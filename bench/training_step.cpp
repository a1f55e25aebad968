// What does a step of training cost, of one block over 4096 tokens: forward and backward, and the optimiser?

#include <ring_attention/ring_attention.hpp>

#include "flops.hpp"
#include "inputs.hpp"
#include "measure.hpp"

namespace ra = ring_attention;

namespace {

constexpr ra::Index seq_len = 4096, width = 512;

using Block = ra::Block<float, ra::BlockOptions{.width = width, .heads = 8}>;
using Model = ra::Model<ra::Sequential<Block>, ra::Output::all>;

Model initialised() {
    Model model{.body = {}, .num_chunks = 1};
    ra::initialise(model, 1);
    return model;
}

void forward_backward(benchmark::State& state) {
    const Model model = initialised();
    const auto x = bench::random<ra::Tensor<float, 3>>(1, seq_len, width);
    auto gradient = ra::zeros_like(model);  // grows from round to round, which costs nothing
    Model::Cache cache;
    bench::measure_against_peak(state, bench::BlockFlops{1, seq_len, width}.training(), [&] {
        const auto y = model.forward(x, cache);
        return model.backward(y, cache, gradient);  // of |y|^2 / 2
    });
}

void adamw_step(benchmark::State& state) {
    Model model = initialised();
    const Model gradient = initialised();
    ra::AdamW optimiser(model);
    double parameters = 0;
    ra::for_each_parameter(model, [&](auto, auto& tensor) { parameters += double(tensor.size()); });
    // Reads weight, gradient and two moments, and writes all but the gradient.
    bench::measure_bandwidth(
        state, 7 * sizeof(float) * parameters, [] { return 1e-3; },
        [&](double learning_rate) {
            optimiser.step(model, gradient, learning_rate);
            return optimiser.steps_taken[0];
        });
}

BENCHMARK(forward_backward)->Apply(bench::rounds<7>);
BENCHMARK(adamw_step)->Apply(bench::rounds<15>);

}  // namespace
