// What does each layer of a block cost, of 4096 tokens of width 512?

#include <ring_attention/ring_attention.hpp>

#include "flops.hpp"
#include "inputs.hpp"
#include "measure.hpp"

namespace ra = ring_attention;

namespace {

constexpr ra::Index tokens = 4096, width = 512, inner = 4 * width;

using Matrix = ra::Matrix<float>;

/// A layer with initial values.
template <class Layer>
Layer initialised() {
    Layer layer;
    ra::initialise(layer, 1);
    return layer;
}

/// layer.forward in inference. The layer takes a copy of x, made outside of the timing.
template <class Layer>
auto forward_of(const Layer& layer) {
    return [&layer](Matrix x) { return layer.forward(std::move(x), nullptr); };
}

auto copies_of(const Matrix& x) {
    return [&x] { return x; };
}

void dense(benchmark::State& state) {
    const auto layer = initialised<ra::Dense<float, width, inner>>();
    const auto x = bench::random<Matrix>(tokens, width);
    bench::measure_against_peak(state, bench::dense_flops(tokens, width, inner), copies_of(x),
                                forward_of(layer));
}

/// d_kernel += x^T d_y, the first product of Dense::backward.
void dense_d_kernel(benchmark::State& state) {
    const auto x = bench::random<Matrix>(tokens, width), d_y = bench::random<Matrix>(tokens, inner);
    Matrix d_kernel = Matrix::Zero(width, inner);
    bench::measure_against_peak(state, bench::dense_flops(tokens, width, inner), [&] {
        ra::detail::parallel_multiply<float>(ra::detail::view(x).transposed(), ra::detail::view(d_y),
                                             ra::detail::view(d_kernel), ra::detail::Into::add);
        return d_kernel.data();
    });
}

/// d_x = d_y kernel^T, the second.
void dense_d_x(benchmark::State& state) {
    const auto d_y = bench::random<Matrix>(tokens, inner), kernel = bench::random<Matrix>(width, inner);
    bench::measure_against_peak(state, bench::dense_flops(tokens, width, inner), [&] {
        Matrix d_x(tokens, width);
        ra::detail::parallel_multiply<float>(ra::detail::view(d_y), ra::detail::view(kernel).transposed(),
                                             ra::detail::view(d_x));
        return d_x;
    });
}

void layer_norm(benchmark::State& state) {
    const ra::LayerNorm<float, width> layer;
    const auto x = bench::random<Matrix>(tokens, width);
    bench::measure_bandwidth(state, 2.0 * sizeof(float) * tokens * width, copies_of(x), forward_of(layer));
}

void gelu(benchmark::State& state) {
    const ra::Gelu<float, inner> layer;
    const auto x = bench::random<Matrix>(tokens, inner);
    bench::measure_bandwidth(state, 2.0 * sizeof(float) * tokens * inner, copies_of(x), forward_of(layer));
}

void feed_forward(benchmark::State& state) {
    const auto layer = initialised<ra::FeedForward<float, ra::FeedForwardOptions{width, inner}>>();
    const auto x = bench::random<Matrix>(tokens, width);
    bench::measure_against_peak(state, 2 * bench::dense_flops(tokens, width, inner), copies_of(x),
                                forward_of(layer));
}

void block(benchmark::State& state) {
    using Block = ra::Block<float, ra::BlockOptions{.width = width, .heads = 8}>;
    auto model = initialised<ra::Model<ra::Sequential<Block>, ra::Output::all>>();
    model.num_chunks = 1;
    const auto x = bench::random<ra::Tensor<float, 3>>(1, tokens, width);
    bench::measure_against_peak(state, bench::BlockFlops{1, tokens, width}.forward(),
                                [&] { return model(x); });
}

BENCHMARK(dense)->Apply(bench::rounds<9>);
BENCHMARK(dense_d_kernel)->Apply(bench::rounds<9>);
BENCHMARK(dense_d_x)->Apply(bench::rounds<9>);
BENCHMARK(layer_norm)->Apply(bench::rounds<9>);
BENCHMARK(gelu)->Apply(bench::rounds<9>);
BENCHMARK(feed_forward)->Apply(bench::rounds<9>);
BENCHMARK(block)->Apply(bench::rounds<9>);

}  // namespace
