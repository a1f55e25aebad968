// How much memory does the operator need beyond q, k, v and what it returns? As N grows, N^2 must not show.

#include <benchmark/benchmark.h>

#include <ring_attention/ring_attention.hpp>

#include "inputs.hpp"
#include "peak_memory.hpp"

namespace ra = ring_attention;

namespace {

constexpr ra::Index head_dim = 64;

/// Causal, at range(0) heads and N = range(1). measure(inputs) tells the bytes. Counters: those, and how many
/// times the size of q that is.
void measure_beyond(benchmark::State& state, const auto& measure) {
    const ra::Index heads = state.range(0), seq_len = state.range(1);
    double beyond = 0;
    for (auto _ : state)
        beyond = bench::in_child_process(
            [&] { return measure(bench::AttentionInputs(heads, seq_len, head_dim)); });
    state.counters["bytes_beyond"] = beyond;
    state.counters["of_q"] = beyond / (double(heads * seq_len * head_dim) * sizeof(float));
}

double size_of_q(const bench::AttentionInputs& in) {
    return double(in.q.size()) * sizeof(float);
}

void forward(benchmark::State& state) {
    measure_beyond(state, [](const bench::AttentionInputs& in) {
        return bench::peak_bytes_of([&] { return ra::attention(in.q, in.k, in.v); }) - size_of_q(in);
    });
}

/// Of any numbers in place of d_output and of what forward gives: a call of forward before this one would
/// leave buffers behind.
void backward(benchmark::State& state) {
    measure_beyond(state, [](const bench::AttentionInputs& in) {
        ra::AttentionResult<float> result{in.v,
                                          ra::Tensor<float, 3>(1, in.q.dimension(1), in.q.dimension(2))};
        result.log_sum_exp.setConstant(10);
        return bench::peak_bytes_of([&] { return ra::attention_backward(in.q, in.q, in.k, in.v, result); }) -
               3 * size_of_q(in);
    });
}

void once(benchmark::internal::Benchmark* benchmark) {
    benchmark->ArgNames({"heads", "N"})->Iterations(1)->Unit(benchmark::kMillisecond);
}

// One head where it is long, and forward alone at last: 262144 tokens see each other 34 thousand million
// times.
BENCHMARK(forward)
    ->ArgsProduct({{8}, {256, 1024, 4096, 16384}})
    ->ArgsProduct({{1}, {16384, 65536, 262144}})
    ->Apply(once);
BENCHMARK(backward)
    ->ArgsProduct({{8}, {256, 1024, 4096, 16384}})
    ->ArgsProduct({{1}, {16384, 65536}})
    ->Apply(once);

}  // namespace
