// How near is one query against a long cache to reading the cache once? 8 query heads of 64, float.

#include <vector>

#include <ring_attention/ring_attention.hpp>

#include "inputs.hpp"
#include "measure.hpp"
#include "read_bandwidth.hpp"

namespace ra = ring_attention;

namespace {

constexpr ra::Index heads = 8, head_dim = 64;
constexpr int num_rounds = 9;

/// One query a sequence: [batch, heads, 1, head_dim].
struct Inputs {
    ra::Tensor<float, 4> q, k, v;

    Inputs(ra::Index batch, ra::Index key_value_heads, ra::Index kv_len)
        : q(bench::random<ra::Tensor<float, 4>>(batch, heads, 1, head_dim)),
          k(bench::random<ra::Tensor<float, 4>>(batch, key_value_heads, kv_len, head_dim)),
          v(bench::random<ra::Tensor<float, 4>>(batch, key_value_heads, kv_len, head_dim)) {}

    double bytes() const { return double(k.size() + v.size()) * sizeof(float); }
    double seconds_to_read() const {
        return bench::seconds_to_read(k.data(), k.size()) + bench::seconds_to_read(v.data(), v.size());
    }
    ra::AttentionResult<float> attend() const { return ra::attention(q, k, v, {.causal = false}); }
};

/// What work takes without anything else, over as many calls as fill 20 ms.
double seconds_of(const auto& work) {
    return bench::seconds_per_call([] { return 0; }, [&](int) { return work(); });
}

/// The same for what tells its own seconds.
double own_seconds_of(const auto& work) {
    double seconds = 0;
    int calls = 0;
    for (; seconds < 20e-3; ++calls) seconds += work();
    return seconds / calls;
}

/// Reading and attention in turn. of_read: the median over the rounds of the bytes a second over those of
/// reading.
void decode(benchmark::State& state) {
    const ra::Index kv_len = state.range(0), group = state.range(1), batch = state.range(3);
    const bench::Threads threads(state.range(2));
    const Inputs inputs(batch, heads / group, kv_len);
    std::vector<double> seconds, reading, of_read;
    for (auto _ : state) {
        reading.push_back(own_seconds_of([&] { return inputs.seconds_to_read(); }));
        seconds.push_back(seconds_of([&] { return inputs.attend(); }));
        of_read.push_back(reading.back() / seconds.back());
        state.SetIterationTime(seconds.back());
    }
    state.counters["GB/s"] = inputs.bytes() / bench::median(seconds) / 1e9;
    state.counters["read GB/s"] = inputs.bytes() / bench::median(reading) / 1e9;
    state.counters["of_read"] = bench::median(of_read);
    state.counters["tokens/s"] = double(batch) / bench::median(seconds);
}

BENCHMARK(decode)
    ->ArgNames({"keys", "group", "threads", "batch"})
    ->ArgsProduct({{1024, 4096, 32768, 262144}, {1, 4, 8}, {1, 2}, {1}})
    ->ArgsProduct({{1024, 4096, 32768}, {1, 4, 8}, {1, 2}, {8}})
    ->Apply(bench::rounds<num_rounds>);

/// Tokens a second of a group of so many heads over those of groups of 1, in turn.
void groups(benchmark::State& state) {
    const bench::Threads threads(state.range(2));
    const Inputs alone(1, heads, state.range(0)), grouped(1, heads / state.range(1), state.range(0));
    std::vector<double> ratios;
    for (auto _ : state) {
        const double one = seconds_of([&] { return alone.attend(); }),
                     other = seconds_of([&] { return grouped.attend(); });
        ratios.push_back(one / other);
        state.SetIterationTime(other);
    }
    state.counters["of_group_1"] = bench::median(ratios);
}

BENCHMARK(groups)
    ->ArgNames({"keys", "group", "threads"})
    ->ArgsProduct({{4096, 32768}, {4, 8}, {1, 2}})
    ->Apply(bench::rounds<num_rounds>);

/// A whole token of a block of width 512 after so many, over the operator's time on as many keys, in turn.
void token(benchmark::State& state) {
    constexpr ra::Index width = heads * head_dim, portion = 4096;
    const ra::Index kv_len = state.range(0);
    ra::set_num_threads(2);
    using Block = ra::Block<float, ra::BlockOptions{.width = width, .heads = heads}>;
    ra::Model<ra::Sequential<Block>, ra::Output::all> model{.body = {}, .num_chunks = 1};
    ra::initialise(model, 1);
    ra::Stream stream{model, {.capacity = kv_len + 4096}};
    const auto some = bench::random<ra::Tensor<float, 3>>(1, portion, width);
    while (stream.size() < kv_len) stream.push(some);

    const bench::Threads threads(state.range(1));
    const auto x_t = bench::random<ra::Tensor<float, 2>>(1, width);
    const Inputs inputs(1, heads, kv_len);
    std::vector<double> seconds, over_operator;
    for (auto _ : state) {
        const double attention = seconds_of([&] { return inputs.attend(); });
        seconds.push_back(seconds_of([&] { return stream.push(x_t); }));
        over_operator.push_back(seconds.back() / attention);
        state.SetIterationTime(seconds.back());
    }
    state.counters["tokens/s"] = 1 / bench::median(seconds);
    state.counters["over_operator"] = bench::median(over_operator);
}

BENCHMARK(token)
    ->ArgNames({"position", "threads"})
    ->ArgsProduct({{4096, 32768}, {1, 2}})
    ->Apply(bench::rounds<num_rounds>);

}  // namespace
