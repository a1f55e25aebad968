// How near to what the core can do is the operator, forward and backward, by length, head_dim and mask?

#include <ring_attention/ring_attention.hpp>

#include "flops.hpp"
#include "inputs.hpp"
#include "measure.hpp"

namespace ra = ring_attention;

namespace {

struct Case {
    ra::Index heads, seq_len, head_dim;
    bool causal;

    explicit Case(const benchmark::State& state)
        : heads(state.range(0)),
          seq_len(state.range(1)),
          head_dim(state.range(2)),
          causal(state.range(3) != 0) {}
};

void forward(benchmark::State& state) {
    const Case c(state);
    const bench::AttentionInputs in(c.heads, c.seq_len, c.head_dim);
    bench::measure_against_peak(
        state, bench::attention_forward_flops(c.heads, c.seq_len, c.head_dim, c.causal),
        [&] { return ra::attention(in.q, in.k, in.v, ra::AttentionOptions{.causal = c.causal}); });
}

void backward(benchmark::State& state) {
    const Case c(state);
    const bench::AttentionInputs in(c.heads, c.seq_len, c.head_dim);
    const auto d_output = bench::random<ra::Tensor<float, 4>>(1, c.heads, c.seq_len, c.head_dim);
    const ra::AttentionOptions options{.causal = c.causal};
    const auto result = ra::attention(in.q, in.k, in.v, options);
    bench::measure_against_peak(
        state, bench::attention_backward_flops(c.heads, c.seq_len, c.head_dim, c.causal),
        [&] { return ra::attention_backward(d_output, in.q, in.k, in.v, result, options); });
}

// {heads, N, d, causal}. The work grows with N^2: what is long is causal only, in fewer rounds, at last with
// fewer heads, and forward only.
void usual(benchmark::internal::Benchmark* benchmark) {
    benchmark->ArgNames({"heads", "N", "d", "causal"})
        ->ArgsProduct({{8}, {256, 1024, 4096}, {64, 128}, {0, 1}})
        ->Apply(bench::rounds<7>);
}

void of_16384(benchmark::internal::Benchmark* benchmark) {
    benchmark->ArgNames({"heads", "N", "d", "causal"})
        ->ArgsProduct({{8}, {16384}, {64, 128}, {1}})
        ->Apply(bench::rounds<3>);
}

void of_65536(benchmark::internal::Benchmark* benchmark) {
    benchmark->ArgNames({"heads", "N", "d", "causal"})
        ->ArgsProduct({{1}, {65536}, {64, 128}, {1}})
        ->Apply(bench::rounds<2>);
}

BENCHMARK(forward)->Apply(usual);
BENCHMARK(backward)->Apply(usual);
BENCHMARK(forward)->Apply(of_16384);
BENCHMARK(backward)->Apply(of_16384);
BENCHMARK(forward)->Apply(of_65536);

}  // namespace
