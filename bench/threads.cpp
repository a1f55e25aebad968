// What do more threads bring? All counts in turn, round by round, so that all meet the same machine.

#include <algorithm>
#include <string>
#include <thread>
#include <vector>

#include <ring_attention/ring_attention.hpp>

#include "inputs.hpp"
#include "measure.hpp"

namespace ra = ring_attention;

namespace {

constexpr ra::Index seq_len = 4096, width = 512, heads = 8;

/// 1, 2, 4, ... and the cores.
std::vector<int> thread_counts() {
    const int cores = std::max(1, int(std::thread::hardware_concurrency()));
    std::vector<int> counts;
    for (int count = 1; count < cores; count *= 2) counts.push_back(count);
    counts.push_back(cores);
    return counts;
}

/// The time shown is that of one thread. Counters: how many times as fast so many threads are, by the median
/// over the rounds.
void measure_speedup(benchmark::State& state, const auto& work) {
    const std::vector<int> counts = thread_counts();
    std::vector<std::vector<double>> speedups(counts.size());
    for (auto _ : state) {
        double of_one_thread = 0;
        for (std::size_t i = 0; i < counts.size(); ++i) {
            ra::set_num_threads(counts[i]);
            const auto warm = work();  // the pool has just begun
            benchmark::DoNotOptimize(warm);
            const double seconds = bench::seconds_per_call([] { return 0; }, [&](int) { return work(); });
            if (i == 0) of_one_thread = seconds;
            speedups[i].push_back(of_one_thread / seconds);
        }
        state.SetIterationTime(of_one_thread);
    }
    for (std::size_t i = 1; i < counts.size(); ++i)
        state.counters[std::to_string(counts[i]) + "_threads"] = bench::median(speedups[i]);
}

void attention(benchmark::State& state) {
    const bench::AttentionInputs in(heads, seq_len, width / heads);
    measure_speedup(state, [&] { return ra::attention(in.q, in.k, in.v); });
}

void attention_backward(benchmark::State& state) {
    const bench::AttentionInputs in(heads, seq_len, width / heads);
    const auto result = ra::attention(in.q, in.k, in.v);
    measure_speedup(state, [&] { return ra::attention_backward(result.output, in.q, in.k, in.v, result); });
}

void block(benchmark::State& state) {
    using Block = ra::Block<float, ra::BlockOptions{.width = width, .heads = heads}>;
    ra::Model<ra::Sequential<Block>, ra::Output::all> model{.body = {}, .num_chunks = 1};
    ra::initialise(model, 1);
    const auto x = bench::random<ra::Tensor<float, 3>>(1, seq_len, width);
    measure_speedup(state, [&] { return model(x); });
}

BENCHMARK(attention)->Apply(bench::rounds<7>);
BENCHMARK(attention_backward)->Apply(bench::rounds<7>);
BENCHMARK(block)->Apply(bench::rounds<7>);

}  // namespace
