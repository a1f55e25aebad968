// What a model refuses, and that nothing has changed when it does.

#include <doctest/doctest.h>

#include <ring_attention/models/build.hpp>

#include "support/error_message.hpp"
#include "support/model_run.hpp"

namespace models_sequence_model_refusals {

namespace {

namespace ra = ring_attention;

constexpr ra::Options options{
    .embed_dim = 5, .hidden_size = 8, .num_heads = 2, .num_chunks = 3, .num_layers = 2, .dropout = 0.25f};
constexpr ra::Options all_outputs = [] {
    ra::Options changed = options;
    changed.output = ra::Output::all;
    return changed;
}();

ra::Tensor<float, 3> ones(ra::Index batch, ra::Index seq_len, ra::Index width) {
    ra::Tensor<float, 3> x(batch, seq_len, width);
    x.setConstant(1);
    return x;
}

template <class Model, class Shape>
void check_d_output_is_refused(const Model& model, const typename Model::Cache& cache, const Shape& given,
                               const std::string& expected) {
    typename Model::OutputTensor d_output(given);
    d_output.setConstant(1);
    auto gradient = model;
    CHECK_REFUSES(model.backward(d_output, cache, gradient), "d_output", ra::shape_text(given), expected);
    CHECK(support::same_bits(support::parameters_of<float>(gradient), support::parameters_of<float>(model)));
}

}  // namespace

TEST_CASE("a model refuses an input of a wrong shape") {
    const auto model = ra::build<options>();
    decltype(ra::build<options>())::Cache cache;
    CHECK_REFUSES(model(ones(2, 6, 4)), "[2, 6, 4]", "5");
    CHECK_REFUSES(model(ones(2, 6, 8)), "[2, 6, 8]", "5");
    CHECK_REFUSES(model(ones(0, 6, 5)), "[0, 6, 5]", "batch", "at least 1");
    CHECK_REFUSES(model(ones(2, 0, 5)), "seq_len", "0", "at least 1");
    CHECK_REFUSES(model.forward(ones(2, 6, 6), cache), "[2, 6, 6]", "5");
    CHECK_REFUSES(model.forward(ones(2, 6, 6), cache, ra::Dropout{}), "[2, 6, 6]", "5");
    CHECK_REFUSES(model(ra::Tensor<float, 3>()), "[0, 0, 0]");
}

TEST_CASE("backward refuses a cache that holds no forward pass") {
    const auto model = ra::build<options>();
    const decltype(ra::build<options>())::Cache cache;
    ra::Tensor<float, 2> d_output(2, 8);
    d_output.setConstant(1);
    auto gradient = model;
    CHECK_REFUSES(model.backward(d_output, cache, gradient), "cache", "forward");
    CHECK(support::same_bits(support::parameters_of<float>(gradient), support::parameters_of<float>(model)));
}

TEST_CASE("backward refuses a d_output of another shape than the output") {
    const auto model = ra::build<options>();
    decltype(ra::build<options>())::Cache cache;
    model.forward(ones(2, 6, 5), cache);
    for (const auto& wrong : {std::array<ra::Index, 2>{1, 8}, {3, 8}, {2, 7}, {2, 9}, {0, 0}})
        check_d_output_is_refused(model, cache, wrong, "[2, 8]");
}

TEST_CASE("backward refuses a d_output that is not the whole sequence, where that is the output") {
    const auto model = ra::build<all_outputs>();
    decltype(ra::build<all_outputs>())::Cache cache;
    model.forward(ones(2, 6, 5), cache);
    for (const auto& wrong : {std::array<ra::Index, 3>{1, 6, 8}, {2, 5, 8}, {2, 7, 8}, {2, 6, 5}})
        check_d_output_is_refused(model, cache, wrong, "[2, 6, 8]");
}

TEST_CASE("a refused forward leaves the cache as it was") {
    const auto model = ra::build<options>();
    decltype(ra::build<options>())::Cache cache;
    const support::ModelCase<std::decay_t<decltype(model)>> c(2, 6, options.embed_dim);
    model.forward(c.x, cache);
    for (const auto& wrong : {ones(2, 6, 4), ones(2, 0, 5), ones(0, 6, 5)})
        CHECK(support::error_message([&] { model.forward(wrong, cache); }) != "no error");
    auto gradient = ra::zeros_like(model);
    const auto d_input = model.backward(c.d_output, cache, gradient);
    CHECK(compare::same_bits(d_input, support::run(model, c.x, c.d_output).d_input));
}

TEST_CASE("a cache can be filled again, with another shape") {
    const auto model = ra::build<options>();
    decltype(ra::build<options>())::Cache cache;
    model.forward(ones(1, 11, 5), cache);
    const support::ModelCase<std::decay_t<decltype(model)>> c(2, 6, options.embed_dim);
    model.forward(c.x, cache);
    auto gradient = ra::zeros_like(model);
    const auto d_input = model.backward(c.d_output, cache, gradient);
    CHECK(compare::same_bits(d_input, support::run(model, c.x, c.d_output).d_input));
}

}  // namespace models_sequence_model_refusals
