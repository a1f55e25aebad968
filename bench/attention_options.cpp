// What do the options of attention cost, over the work that the mask leaves: how near to what the core can
// do, and to attention without them?

#include <string>
#include <vector>

#include <ring_attention/ring_attention.hpp>

#include "flops.hpp"
#include "inputs.hpp"
#include "measure.hpp"

namespace ra = ring_attention;

namespace {

struct Case {
    std::string name;
    ra::AttentionOptions options;
    ra::Index seq_len = 4096, heads = 8, key_value_heads = 8;
    bool sinks = false;

    static constexpr ra::Index head_dim = 64;

    /// Of queries and keys that see each other, in all heads.
    double pairs() const {
        const ra::Share share(ra::ChunkLayout(seq_len, 1), 0, 1);
        const ra::AttentionPlan plan =
            ra::plan_of<float>(options, share, share, {1, heads, key_value_heads, head_dim, head_dim});
        return bench::pairs_that_see_each_other(plan, seq_len);
    }
};

/// What it is compared with: as many heads, and the mask as it is without rules of its own.
Case plain(bool causal, ra::Index heads) {
    return {"plain", {.causal = causal}, 4096, heads, heads};
}

/// The inputs of a case, and what is to be measured.
class Runner {
  public:
    explicit Runner(const Case& c)
        : options_(c.options),
          q_(bench::random<ra::Tensor<float, 4>>(1, c.heads, c.seq_len, c.head_dim)),
          k_(bench::random<ra::Tensor<float, 4>>(1, c.key_value_heads, c.seq_len, c.head_dim)),
          v_(bench::random<ra::Tensor<float, 4>>(1, c.key_value_heads, c.seq_len, c.head_dim)),
          d_output_(bench::random<ra::Tensor<float, 4>>(1, c.heads, c.seq_len, c.head_dim)),
          sinks_(bench::random<ra::Tensor<float, 1>>(c.heads)),
          has_sinks_(c.sinks),
          result_(forward()) {}

    ra::AttentionResult<float> forward() const { return ra::attention(q_, k_, v_, options_, terms()); }

    ra::AttentionGradient<float> backward() const {
        return ra::attention_backward(d_output_, q_, k_, v_, result_, options_, terms());
    }

  private:
    ra::AttentionTerms<float> terms() const { return {.sinks = has_sinks_ ? &sinks_ : nullptr}; }

    ra::AttentionOptions options_;
    ra::Tensor<float, 4> q_, k_, v_, d_output_;
    ra::Tensor<float, 1> sinks_;
    bool has_sinks_;
    ra::AttentionResult<float> result_;
};

/// Runs peak, plain, case, peak, plain, case, ..., peak. Counters: GFLOP/s and of_peak as elsewhere, and
/// of_plain, the median over the rounds of the ratio of the two rates.
void measure(benchmark::State& state, const Case& c, double flops_of_pair, const auto& work) {
    const Case beside = plain(c.options.causal, c.heads);
    const Runner runner(c), plain_runner(beside);
    const double flops = flops_of_pair * c.pairs(), plain_flops = flops_of_pair * beside.pairs();
    std::vector<double> seconds, of_peak, of_plain;
    double peak_before = bench::fma_peak();
    for (auto _ : state) {
        const auto seconds_of = [&](const Runner& of) {
            return bench::seconds_per_call([] { return 0; }, [&](int) { return work(of); });
        };
        const double plain_seconds = seconds_of(plain_runner);
        seconds.push_back(seconds_of(runner));
        const double peak_after = bench::fma_peak(), rate = flops / seconds.back();
        of_peak.push_back(rate / ((peak_before + peak_after) / 2));
        of_plain.push_back(rate / (plain_flops / plain_seconds));
        peak_before = peak_after;
        state.SetIterationTime(seconds.back());
    }
    state.counters["GFLOP/s"] = flops / bench::median(seconds) / 1e9;
    state.counters["of_peak"] = bench::median(of_peak);
    state.counters["of_plain"] = bench::median(of_plain);
}

void forward(benchmark::State& state, const Case& c) {
    measure(state, c, bench::forward_flops_of_pair(Case::head_dim),
            [](const Runner& runner) { return runner.forward(); });
}

void backward(benchmark::State& state, const Case& c) {
    measure(state, c, bench::backward_flops_of_pair(Case::head_dim),
            [](const Runner& runner) { return runner.backward(); });
}

std::vector<Case> cases() {
    std::vector<ra::Index> documents;
    for (ra::Index start = 0; start < 4096; start += 512) documents.push_back(start);
    std::vector<double> slopes;  // as their inventors choose them for 8 heads
    for (int head = 1; head <= 8; ++head) slopes.push_back(1 / double(1 << head));
    return {{"groups_of_4", {}, 4096, 8, 2},
            {"groups_of_4_all_keys", {.causal = false}, 4096, 8, 2},
            {"softcap", {.softcap = 50}},
            {"alibi", {.alibi_slopes = slopes}},
            {"sinks", {}, 4096, 8, 8, true},
            {"prefix_1024", {.prefix = 1024}},
            {"documents_of_512", {.document_starts = documents}},
            {"window_512", {.window = 512}},
            {"window_512_of_65536", {.window = 512}, 65'536, 1, 1}};
}

const bool registered = [] {
    for (const Case& c : cases()) {
        benchmark::RegisterBenchmark(("forward/" + c.name).c_str(), forward, c)->Apply(bench::rounds<7>);
        benchmark::RegisterBenchmark(("backward/" + c.name).c_str(), backward, c)->Apply(bench::rounds<5>);
    }
    return true;
}();

}  // namespace
