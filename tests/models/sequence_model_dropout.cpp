// Dropout in the model: where it acts, what it is keyed by, and that backward goes through the same masks.

#include <doctest/doctest.h>

#include <ring_attention/models/build.hpp>

#include "support/compare.hpp"
#include "support/model_run.hpp"

namespace models_sequence_model_dropout {

namespace {

namespace ra = ring_attention;

constexpr ra::Options options{.embed_dim = 5,
                              .hidden_size = 8,
                              .num_heads = 2,
                              .num_chunks = 3,
                              .num_layers = 3,
                              .dropout = 0.25f,
                              .output = ra::Output::all};

constexpr ra::Options rate_0 = [] {
    ra::Options changed = options;
    changed.dropout = 0;
    return changed;
}();

using Model = ra::SequenceModel<options, float>;

ra::Tensor<float, 3> trained(const Model& model, const ra::Tensor<float, 3>& x, const ra::Dropout& dropout) {
    Model::Cache cache;
    return model.forward(x, cache, dropout);
}

/// What a Dropout draws for a whole model, by the names that the oracle has for it.
oracle::Masks drawn(const ra::Dropout& dropout, ra::Index batch, ra::Index seq_len) {
    oracle::Masks masks;
    const auto draw = [&](const std::string& name, ra::DropoutPlace place) {
        std::vector<std::uint8_t>& mask = masks["mask." + name];
        std::vector<std::uint8_t> token(options.hidden_size);
        for (ra::Index b = 0; b < batch; ++b)
            for (ra::Index position = 0; position < seq_len; ++position) {
                dropout.keep(place, b, position, double(options.dropout), token);
                mask.insert(mask.end(), token.begin(), token.end());
            }
    };
    for (std::uint64_t layer = 1; layer <= options.num_layers; ++layer) {
        const std::string i = std::to_string(layer);
        draw("ring_" + i + "_attn_dropout", {layer, ra::DropoutSite::attention});
        draw("ring_" + i + "_ffn_dropout", {layer, ra::DropoutSite::feed_forward});
        if (layer < options.num_layers)
            draw("inter_block_dropout_" + i, {layer, ra::DropoutSite::between_blocks});
    }
    return masks;
}

}  // namespace

TEST_CASE("dropout in the model: outputs and gradients are the oracle's with the same masks") {
    const auto model = support::random_model<options, float>(7);
    const support::ModelCase<Model> c(2, 7, options.embed_dim);
    const ra::Dropout dropout{.seed = 11, .step = 4};
    oracle::SequenceModel<double> expected(support::model_shape<options>(2, 7),
                                           support::parameters_of<double>(model), drawn(dropout, 2, 7));
    const auto run = support::run(model, c.x, c.d_output, dropout);
    CHECK(compare::largest_difference(run.output, expected.forward(inputs::widen<double>(c.x))) < 2e-6);
    const auto gradient = expected.backward(inputs::widen<double>(c.d_output));
    CHECK(compare::relative_difference(run.d_input, gradient.at("input")) < 1e-5);
    for (const auto& [key, values] : run.gradient) {
        const std::string& name = key;
        CAPTURE(name);
        const double scale =
            std::max(compare::largest(gradient.at(name)), 1e-2);  // that of the keys' bias is 0
        CHECK(compare::largest_difference(values, gradient.at(name)) / scale < 1e-5);
    }
}

TEST_CASE("dropout in the model: the same seed and step give the same bits, others do not") {
    const auto model = support::random_model<options, float>(7);
    const auto x = tensors::normal<float, 3>({2, 7, options.embed_dim}, 1);
    const auto first = trained(model, x, {.seed = 1, .step = 1});
    CHECK(compare::same_bits(trained(model, x, {.seed = 1, .step = 1}), first));
    CHECK_FALSE(compare::same_bits(trained(model, x, {.seed = 2, .step = 1}), first));
    CHECK_FALSE(compare::same_bits(trained(model, x, {.seed = 1, .step = 2}), first));
    CHECK_FALSE(compare::same_bits(trained(model, x, {.seed = 2, .step = 0}), first));
}

TEST_CASE("dropout in the model: equal tokens in two batch entries are dropped differently") {
    const auto model = support::random_model<options, float>(7);
    auto x = tensors::normal<float, 3>({2, 7, options.embed_dim}, 1);
    x.chip(1, 0) = x.chip(0, 0).eval();
    const auto inference = model(x), training = trained(model, x, {.seed = 1});
    CHECK(compare::same_bits(tensors::slice(inference, 0, 0, 1), tensors::slice(inference, 0, 1, 1)));
    CHECK_FALSE(compare::same_bits(tensors::slice(training, 0, 0, 1), tensors::slice(training, 0, 1, 1)));
}

TEST_CASE("dropout in the model: none in inference, nor with rate 0") {
    const auto model = support::random_model<options, float>(7);
    auto undropped = ra::build<rate_0, float>();
    support::set_parameters(undropped, support::parameters_of<float>(model));
    const auto x = tensors::normal<float, 3>({2, 7, options.embed_dim}, 1);
    Model::Cache cache;
    ra::SequenceModel<rate_0, float>::Cache undropped_cache;
    const auto inference = model(x);
    CHECK(compare::same_bits(model.forward(x, cache), inference));
    CHECK(compare::same_bits(undropped(x), inference));
    CHECK(compare::same_bits(undropped.forward(x, undropped_cache, ra::Dropout{.seed = 1}), inference));
    CHECK_FALSE(compare::same_bits(trained(model, x, {.seed = 1}), inference));
}

TEST_CASE("dropout in the model: a cache that has seen dropout is clean after a pass without") {
    const auto model = support::random_model<options, float>(7);
    const support::ModelCase<Model> c(2, 7, options.embed_dim);
    Model::Cache cache;
    model.forward(c.x, cache, ra::Dropout{.seed = 1});
    model.forward(c.x, cache);
    auto gradient = ra::zeros_like(model);
    const auto d_input = model.backward(c.d_output, cache, gradient);
    CHECK(compare::same_bits(d_input, support::run(model, c.x, c.d_output).d_input));
}

}  // namespace models_sequence_model_dropout
