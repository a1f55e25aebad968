// A sequence model in fifteen lines: build it, run it, take one step of training, save it.

#include <cstdio>
#include <exception>

#include <ring_attention/ring_attention.hpp>

namespace ra = ring_attention;

int main() try {
    constexpr ra::Options options{.embed_dim = 288, .num_chunks = 8};  // the rest has defaults
    auto model = ra::build<options>();

    ra::Tensor<float, 3> x(2, 60, 288);  // [batch, seq_len, embed_dim]
    x.setRandom();
    ra::Tensor<float, 2> y = model(x);  // [batch, hidden_size]: the last timestep

    typename decltype(model)::Cache cache;  // what backward needs to remember
    y = model.forward(x, cache, ra::Dropout{.seed = 1, .step = 0});
    auto gradient = ra::zeros_like(model);
    ra::Tensor<float, 3> dx = model.backward(y, cache, gradient);  // of |y|^2 / 2
    ra::AdamW optimiser(model);
    optimiser.step(model, gradient, 1e-3);

    ra::save(model, "weights.safetensors");
    ra::load(model, "weights.safetensors");
    std::printf("%td parameters, output [%td, %td]\n", ra::parameter_count(model), y.dimension(0),
                y.dimension(1));
    if (std::fflush(stdout) != 0) throw ra::FileError("cannot write to standard output");
} catch (const std::exception& error) {
    std::fprintf(stderr, "quickstart: %s\n", error.what());
    return 2;
}
