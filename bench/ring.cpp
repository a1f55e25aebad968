// Does what travels hide behind what is computed? On links so slow that a hop's messages need 0.8 of the time
// that its computing needs. The ranks' times are emulated (ring/emulated_link.hpp): there may be more ranks
// than cores.

#include "emulated_ring.hpp"
#include "measure.hpp"

namespace ra = ring_attention;

namespace {

using bench::Pass;

constexpr double latency = 10e-6, of_computing = 0.8;

/// The time shown is that on infinitely fast links. Counters: how many times as long it takes where messages
/// travel while ranks compute, and where they compute and send in turn; then, what to expect of the latter.
/// By the medians over the rounds.
void on_slow_links(benchmark::State& state, Pass pass, ra::Layout layout, bool causal) {
    ra::set_num_threads(1);
    const double ranks = double(state.range(0));
    bench::RingAttentionWork work({pass, int(ranks), 1024, causal, layout});
    std::vector<double> with_overlap, without_overlap, expected;
    for (auto _ : state) {
        const bench::RingRun alone = work.run({});
        const double bytes_of_hop = alone.key_value_bytes / (ranks - 1) + alone.gradient_bytes / ranks;
        const double bytes_per_second = bytes_of_hop / (of_computing * alone.seconds / ranks);
        const auto times_as_long = [&](bool overlap) {
            return work.run({latency, bytes_per_second, overlap}).seconds / alone.seconds;
        };
        with_overlap.push_back(times_as_long(true));
        without_overlap.push_back(times_as_long(false));
        expected.push_back(1 +
                           (alone.key_value_bytes + alone.gradient_bytes) / bytes_per_second / alone.seconds);
        state.SetIterationTime(alone.seconds);
    }
    state.counters["with_overlap"] = bench::median(with_overlap);
    state.counters["without"] = bench::median(without_overlap);
    state.counters["without_expected"] = bench::median(expected);
}

void on_rings(benchmark::internal::Benchmark* benchmark) {
    benchmark->ArgName("ranks")->Arg(2)->Arg(4)->Arg(8)->Apply(bench::rounds<5>);
}

constexpr auto contiguous = ra::Layout::contiguous, zigzag = ra::Layout::zigzag;

BENCHMARK_CAPTURE(on_slow_links, forward_of_all_keys, Pass::forward, contiguous, false)->Apply(on_rings);
BENCHMARK_CAPTURE(on_slow_links, forward_causal_zigzag, Pass::forward, zigzag, true)->Apply(on_rings);
BENCHMARK_CAPTURE(on_slow_links, backward_of_all_keys, Pass::backward, contiguous, false)->Apply(on_rings);
BENCHMARK_CAPTURE(on_slow_links, backward_causal_zigzag, Pass::backward, zigzag, true)->Apply(on_rings);
BENCHMARK_CAPTURE(on_slow_links, step_of_all_keys, Pass::step, contiguous, false)->Apply(on_rings);
BENCHMARK_CAPTURE(on_slow_links, step_causal_zigzag, Pass::step, zigzag, true)->Apply(on_rings);

}  // namespace
