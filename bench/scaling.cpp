// What do more ranks bring? A causal step of the operator by layout, on links of 100 Gbit/s. The ranks' times
// are emulated (ring/emulated_link.hpp): there may be more ranks than cores. All numbers of ranks in turn,
// round by round.

#include <array>

#include "emulated_ring.hpp"
#include "measure.hpp"

namespace ra = ring_attention;

namespace {

constexpr ra::EmulatedLink link{.latency = 10e-6, .bytes_per_second = 12.5e9};
constexpr std::array numbers_of_ranks{1, 2, 4, 8};

/// The time shown is that of one rank. Counters: the efficiency of more, which is the flops per second of a
/// rank among them as a part of those of one rank alone.
void measure_efficiency(benchmark::State& state, ra::Layout layout, auto&& tokens_of_rank) {
    ra::set_num_threads(1);
    std::vector<bench::RingCase> cases;
    std::vector<bench::RingAttentionWork> works;
    for (const int ranks : numbers_of_ranks)
        works.emplace_back(cases.emplace_back(
            bench::RingCase{bench::Pass::step, ranks, tokens_of_rank(ranks), true, layout}));
    std::array<std::vector<double>, numbers_of_ranks.size()> efficiencies;
    for (auto _ : state) {
        double of_one_rank = 0;
        for (std::size_t i = 0; i < cases.size(); ++i) {
            const double seconds = works[i].run(link).seconds;
            const double flops_per_second = cases[i].flops() / cases[i].ranks / seconds;
            if (i == 0) {
                of_one_rank = flops_per_second;
                state.SetIterationTime(seconds);
            }
            efficiencies[i].push_back(flops_per_second / of_one_rank);
        }
    }
    for (std::size_t i = 1; i < cases.size(); ++i)
        state.counters[std::to_string(cases[i].ranks) + "_ranks"] = bench::median(efficiencies[i]);
}

/// The ranks share a sequence of 8192 tokens.
void strong_scaling(benchmark::State& state, ra::Layout layout) {
    measure_efficiency(state, layout, [](int ranks) { return 8192 / ranks; });
}

/// Every rank brings 1024 tokens.
void weak_scaling(benchmark::State& state, ra::Layout layout) {
    measure_efficiency(state, layout, [](int) { return 1024; });
}

BENCHMARK_CAPTURE(strong_scaling, contiguous, ra::Layout::contiguous)->Apply(bench::rounds<3>);
BENCHMARK_CAPTURE(strong_scaling, zigzag, ra::Layout::zigzag)->Apply(bench::rounds<3>);
BENCHMARK_CAPTURE(strong_scaling, striped, ra::Layout::striped)->Apply(bench::rounds<3>);
BENCHMARK_CAPTURE(weak_scaling, contiguous, ra::Layout::contiguous)->Apply(bench::rounds<5>);
BENCHMARK_CAPTURE(weak_scaling, zigzag, ra::Layout::zigzag)->Apply(bench::rounds<5>);
BENCHMARK_CAPTURE(weak_scaling, striped, ra::Layout::striped)->Apply(bench::rounds<5>);

}  // namespace
