// What does one more token cost, after so many? A block of width 512, one sequence.

#include <vector>

#include <ring_attention/ring_attention.hpp>

#include "inputs.hpp"
#include "measure.hpp"

namespace ra = ring_attention;

namespace {

constexpr ra::Index width = 512, tokens_a_round = 8;
constexpr int num_rounds = 8;

/// The last tokens before the position range(0).
void push(benchmark::State& state) {
    using Block = ra::Block<float, ra::BlockOptions{.width = width, .heads = 8}>;
    ra::Model<ra::Sequential<Block>, ra::Output::all> model{.body = {}, .num_chunks = 1};
    ra::initialise(model, 1);
    const auto x_t = bench::random<ra::Tensor<float, 2>>(1, width);
    ra::Stream stream{model};
    for (ra::Index t = 0; t < state.range(0) - num_rounds * tokens_a_round; ++t) stream.push(x_t);

    std::vector<double> seconds;
    for (auto _ : state) {
        const bench::Stopwatch stopwatch;
        for (ra::Index t = 0; t < tokens_a_round; ++t) benchmark::DoNotOptimize(stream.push(x_t));
        seconds.push_back(stopwatch.seconds() / tokens_a_round);
        state.SetIterationTime(seconds.back());
    }
    state.counters["tokens/s"] = 1 / bench::median(seconds);
}

BENCHMARK(push)
    ->ArgName("position")
    ->Arg(64)
    ->Arg(256)
    ->Arg(1024)
    ->Arg(4096)
    ->Apply(bench::rounds<num_rounds>);

}  // namespace
