// How long does a prediction take? The seed model at its defaults, one sequence (latency) and 32
// (throughput), and a wider model over a long sequence.

#include <ring_attention/ring_attention.hpp>

#include "flops.hpp"
#include "inputs.hpp"
#include "measure.hpp"

namespace ra = ring_attention;

namespace {

template <ra::Options options>
double forward_flops(ra::Index batch, ra::Index seq_len) {
    const double projection =
        options.embed_dim == options.hidden_size
            ? 0
            : bench::dense_flops(batch * seq_len, options.embed_dim, options.hidden_size);
    return projection + options.num_layers * bench::BlockFlops{batch, seq_len, options.hidden_size}.forward();
}

template <ra::Options options>
void predict(benchmark::State& state, ra::Index batch, ra::Index seq_len) {
    const auto model = ra::build<options>();
    const auto x = bench::random<ra::Tensor<float, 3>>(batch, seq_len, options.embed_dim);
    const double seconds =
        bench::measure_against_peak(state, forward_flops<options>(batch, seq_len), [&] { return model(x); });
    state.counters["sequences/s"] = double(batch) / seconds;
}

void seed_model(benchmark::State& state) {
    predict<ra::Options{.embed_dim = 288}>(state, state.range(0), 60);
}

void long_model(benchmark::State& state) {
    predict<ra::Options{.embed_dim = 512, .hidden_size = 512, .num_heads = 8, .output = ra::Output::all}>(
        state, 1, 4096);
}

BENCHMARK(seed_model)->ArgName("batch")->Arg(1)->Arg(32)->Apply(bench::rounds<60>);
BENCHMARK(long_model)->Apply(bench::rounds<7>);

}  // namespace
