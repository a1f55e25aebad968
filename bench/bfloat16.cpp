// What do attention forward and layers gain or cost where keys and values, or weights, are kept as bfloat16,
// over their own time in float, and what is the limit on this machine?

#include <algorithm>
#include <vector>

#include <ring_attention/layers/copy_parameters.hpp>
#include <ring_attention/ring_attention.hpp>

#include "flops.hpp"
#include "inputs.hpp"
#include "measure.hpp"

namespace ra = ring_attention;

namespace {

/// Runs peaks, float, bfloat16, ... Counters: over_float, the median over the rounds of the ratio of the two
/// times; pairs_over_fma, that of the flops of products of pairs of bfloat16 to those of fused multiply-adds,
/// alone: over_float is hardly below its inverse; paired, whether the library makes such products here
/// (RING_ATTENTION_BFLOAT16_PRODUCTS) or widens.
void forward(benchmark::State& state) {
    const ra::Index heads = 8, seq_len = state.range(0), head_dim = state.range(1);
    const bool causal = state.range(2) != 0;
    const bench::AttentionInputs in(heads, seq_len, head_dim);
    const auto seconds_of = [&](ra::Storage storage) {
        return bench::seconds_per_call(
            [] { return 0; },
            [&](int) { return ra::attention(in.q, in.k, in.v, {.causal = causal, .storage = storage}); });
    };
    std::vector<double> seconds, over_float;
    double pairs = 0, fma = 0;  // the most: a neighbour may be in the way of either
    for (auto _ : state) {
        pairs = std::max(pairs, bench::pair_peak()), fma = std::max(fma, bench::fma_peak());
        const double of_float = seconds_of(ra::Storage::computing);
        seconds.push_back(seconds_of(ra::Storage::bfloat16));
        over_float.push_back(seconds.back() / of_float);
        state.SetIterationTime(seconds.back());
    }
    const double flops = bench::attention_forward_flops(heads, seq_len, head_dim, causal);
    state.counters["GFLOP/s"] = flops / bench::median(seconds) / 1e9;
    state.counters["over_float"] = bench::median(over_float);
    state.counters["pairs_over_fma"] = pairs / fma;
    state.counters["paired"] = ra::detail::bfloat16_products;
}

BENCHMARK(forward)
    ->ArgNames({"N", "d", "causal"})
    ->ArgsProduct({{4096}, {64, 128}, {0, 1}})
    ->Apply(bench::rounds<7>);

/// Layers one after the other, more than the caches hold, so that few rows wait for the weights.
template <ra::Storage storage>
using Layers = std::vector<ra::Dense<float, 1024, 1024, false, storage>>;

/// So many rows go through 64 layers with weights in float, then with the same in bfloat16, in turn.
void weights(benchmark::State& state) {
    const bench::Threads threads(state.range(1));
    Layers<ra::Storage::computing> wide(64);
    Layers<ra::Storage::bfloat16> narrow(64);
    for (auto& layer : wide) layer.initialise(ra::CounterRandom(1, ra::RandomPurpose::initial_values), 1);
    for (std::size_t i = 0; i < wide.size(); ++i) ra::copy_parameters(wide[i], narrow[i]);
    const ra::Matrix<float> x = ra::Matrix<float>::Ones(state.range(0), 1024);
    const auto seconds_of = [&](const auto& layers) {
        return bench::seconds_per_call([] { return 0; },
                                       [&](int) {
                                           ra::Matrix<float> y = x;
                                           for (const auto& layer : layers) y = layer.forward(y, nullptr);
                                           return y;
                                       });
    };
    std::vector<double> seconds, over_float;
    for (auto _ : state) {
        const double of_float = seconds_of(wide);
        seconds.push_back(seconds_of(narrow));
        over_float.push_back(seconds.back() / of_float);
        state.SetIterationTime(seconds.back());
    }
    const double numbers = 64.0 * 1024 * 1024;
    state.counters["over_float"] = bench::median(over_float);
    state.counters["GB/s"] = 2 * numbers / bench::median(seconds) / 1e9;
    state.counters["GFLOP/s"] = 2 * numbers * double(state.range(0)) / bench::median(seconds) / 1e9;
}

BENCHMARK(weights)
    ->ArgNames({"rows", "threads"})
    ->ArgsProduct({{1, 8, 64, 512}, {1, 2}})
    ->Apply(bench::rounds<7>);

}  // namespace
