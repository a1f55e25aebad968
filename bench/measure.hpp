#pragma once

#include <algorithm>
#include <cstddef>
#include <utility>
#include <vector>

#include <benchmark/benchmark.h>

#include <ring_attention/core/parallel.hpp>
#include <ring_attention/core/types.hpp>

#include "fma_peak.hpp"

namespace bench {

/// That many threads, as long as it lives.
struct Threads {
    explicit Threads(ring_attention::Index count) : before(ring_attention::num_threads()) {
        ring_attention::set_num_threads(int(count));
    }
    ~Threads() { ring_attention::set_num_threads(before); }
    int before;
};

/// Every iteration of a benchmark is a round, timed by us. BENCHMARK(forward)->Apply(rounds<7>)
template <int count>
void rounds(benchmark::internal::Benchmark* benchmark) {
    benchmark->Iterations(count)->UseManualTime()->Unit(benchmark::kMillisecond);
}

inline double median(std::vector<double> numbers) {
    std::sort(numbers.begin(), numbers.end());
    const std::size_t size = numbers.size();
    return (numbers[size / 2] + numbers[(size - 1) / 2]) / 2;
}

/// Another thread on the same core comes and goes: the fastest of rounds, but for a twentieth of them.
inline double undisturbed(std::vector<double> speeds) {
    std::sort(speeds.begin(), speeds.end());
    return speeds[speeds.size() - 1 - speeds.size() / 20];
}

/// What work(prepare()) takes without prepare(), over as many calls as fill 20 ms. What work returns is
/// dropped after the clock was read.
template <class Prepare, class Work>
double seconds_per_call(const Prepare& prepare, const Work& work) {
    double seconds = 0;
    int calls = 0;
    for (; seconds < 20e-3; ++calls) {
        auto input = prepare();
        const Stopwatch stopwatch;
        auto output = work(std::move(input));
        seconds += stopwatch.seconds();
        benchmark::DoNotOptimize(output);
    }
    return seconds / calls;
}

/// Runs peak, work, peak, work, ..., peak; seconds_of_work() does the work, of so many flops, and times it.
/// Counters: of_peak, the median over the rounds of the ratio to the peak of one thread beside it, and
/// undisturbed, that of these ratios: run it with RING_ATTENTION_NUM_THREADS=1. Returns the rounds' seconds.
std::vector<double> rounds_against_peak(benchmark::State& state, double flops, const auto& seconds_of_work) {
    std::vector<double> all_seconds, of_peak;
    double peak_before = fma_peak();
    for (auto _ : state) {
        const double seconds = seconds_of_work(), peak_after = fma_peak();
        all_seconds.push_back(seconds);
        of_peak.push_back(flops / seconds / ((peak_before + peak_after) / 2));
        peak_before = peak_after;
        state.SetIterationTime(seconds);
    }
    state.counters["of_peak"] = median(of_peak);
    state.counters["undisturbed"] = undisturbed(of_peak);
    return all_seconds;
}

/// The same over calls that fill 20 ms. One more counter: GFLOP/s, of the median. Returns the median seconds
/// of a call.
template <class Prepare, class Work>
double measure_against_peak(benchmark::State& state, double flops, const Prepare& prepare, const Work& work) {
    const double seconds =
        median(rounds_against_peak(state, flops, [&] { return seconds_per_call(prepare, work); }));
    state.counters["GFLOP/s"] = flops / seconds / 1e9;
    return seconds;
}

template <class Work>
double measure_against_peak(benchmark::State& state, double flops, const Work& work) {
    return measure_against_peak(
        state, flops, [] { return 0; }, [&](int) { return work(); });
}

/// For work that moves more than it computes. Counter: GB/s.
template <class Prepare, class Work>
void measure_bandwidth(benchmark::State& state, double bytes, const Prepare& prepare, const Work& work) {
    std::vector<double> seconds;
    for (auto _ : state) {
        seconds.push_back(seconds_per_call(prepare, work));
        state.SetIterationTime(seconds.back());
    }
    state.counters["GB/s"] = bytes / median(seconds) / 1e9;
}

}  // namespace bench
