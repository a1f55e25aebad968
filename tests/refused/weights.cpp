#include <ring_attention/models/build.hpp>
#include <ring_attention/training/adamw.hpp>

namespace ra = ring_attention;

#ifndef CHANGE
#define CHANGE model(x)
#endif

constexpr ra::Options options{
    .embed_dim = 4, .hidden_size = 8, .num_heads = 2, .num_layers = 1, .weights = ra::Storage::bfloat16};

void learn(const ra::Tensor<float, 3>& x) {
    auto model = ra::build<options>();
    using Model = decltype(model);
    [[maybe_unused]] Model::Cache cache;
    [[maybe_unused]] Model gradient;
    const auto y = model.forward(x, cache);
    CHANGE;
}
