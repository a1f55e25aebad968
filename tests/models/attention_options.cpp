// Models of grouped heads, windows, soft caps and sinks, and what a call says of its sequences: documents and
// lengths.

#include <stdexcept>
#include <type_traits>
#include <vector>

#include <doctest/doctest.h>

#include <ring_attention/models/build.hpp>
#include <ring_attention/ring/thread/thread_ring.hpp>
#include <ring_attention/sequence/scatter.hpp>

#include "support/compare.hpp"
#include "support/error_message.hpp"
#include "support/model_case.hpp"
#include "support/tensors.hpp"

namespace models_attention_options {

namespace {

namespace ra = ring_attention;

constexpr ra::Index embed_dim = 5;

constexpr ra::Options options_for(ra::Output output, ra::Layout layout = ra::Layout::contiguous) {
    return {.embed_dim = embed_dim,
            .hidden_size = 8,
            .num_heads = 4,
            .num_chunks = 5,
            .num_layers = 2,
            .dropout = 0.3f,
            .output = output,
            .layout = layout,
            .key_value_heads = 2,
            .window = 6,
            .softcap = 2,
            .sinks = true};
}

constexpr ra::LanguageOptions language_options{.vocabulary = 11,
                                               .hidden_size = 8,
                                               .num_heads = 2,
                                               .num_chunks = 3,
                                               .num_layers = 2,
                                               .dropout = 0,
                                               .key_value_heads = 1,
                                               .window = 4,
                                               .sinks = true};

/// Output and all gradients, of the whole sequences.
template <class Model>
struct Run {
    typename Model::OutputTensor output;
    ra::Tensor<float, 3> d_input;
    oracle::Parameters<float> gradient;
};

template <class Model>
typename Model::OutputTensor d_output_for(const typename Model::OutputTensor& output) {
    typename Model::OutputTensor d_output(output.dimensions());
    const auto numbers = inputs::normal<float>(std::size_t(d_output.size()), 4);
    std::copy(numbers.begin(), numbers.end(), d_output.data());
    return d_output;
}

constexpr ra::Dropout dropout{.seed = 3, .step = 8};

template <class Model>
Run<Model> run_alone(const Model& model, const ra::Tensor<float, 3>& x, const ra::Sequences& sequences,
                     bool training = true) {
    typename Model::Cache cache;
    auto gradient = ra::zeros_like(model);
    Run<Model> run;
    run.output = training ? model.forward(x, cache, sequences, dropout) : model.forward(x, cache, sequences);
    run.d_input = model.backward(d_output_for<Model>(run.output), cache, gradient);
    run.gradient = support::parameters_of<float>(gradient);
    return run;
}

bool same_bits(const oracle::Parameters<float>& a, const oracle::Parameters<float>& b) {
    for (const auto& [name, numbers] : a)
        if (!compare::same_bits(numbers, b.at(name))) return false;
    return a.size() == b.size();
}

template <class Model>
void check_ranks(const Model& model, const ra::Sequences& sequences) {
    const auto x = tensors::normal<float, 3>({2, 23, embed_dim}, 1);
    const Run<Model> alone = run_alone(model, x, sequences);
    const auto d_output = d_output_for<Model>(alone.output);
    for (int ranks = 2; ranks <= model.num_chunks; ++ranks)
        ra::ThreadRing::run(ranks, [&](ra::ThreadRing& ring) {
            const ra::Share share = model.share(ring, 23);
            const auto own = [&](const auto& whole) {
                if constexpr (std::decay_t<decltype(whole)>::NumDimensions == 3)
                    return ra::tokens_of(whole, share);
                else
                    return whole;
            };
            typename Model::Cache cache;
            auto gradient = ra::zeros_like(model);
            const auto output = model.forward(own(x), cache, sequences, dropout, ring);
            const auto d_input = model.backward(own(d_output), cache, gradient, ring);
            if (!compare::same_bits(output, own(alone.output)) ||
                !compare::same_bits(d_input, own(alone.d_input)) ||
                !same_bits(support::parameters_of<float>(gradient), alone.gradient))
                throw std::runtime_error("other bits");
        });
}

ra::Sequences packed() {
    return {.document_starts = {0, 3, 4, 15}, .lengths = {23, 9}};
}

/// The gradients of `parts` together, up to rounding.
void check_sum(const oracle::Parameters<float>& whole, const std::vector<oracle::Parameters<float>>& parts) {
    for (const auto& parameter : whole) {
        const auto& numbers = parameter.second;
        CAPTURE(parameter.first);
        std::vector<double> sum(numbers.size());
        for (const auto& part : parts)
            for (std::size_t i = 0; i < sum.size(); ++i) sum[i] += double(part.at(parameter.first)[i]);
        CHECK(compare::largest_difference(numbers, sum) < 2e-5);
    }
}

/// A batch of sequences with padding behind gives what each of them gives alone.
template <ra::Output output>
void check_lengths() {
    const auto model = support::random_model<options_for(output), float>(7);
    using Model = std::decay_t<decltype(model)>;
    const auto x = tensors::normal<float, 3>({3, 23, 5}, 1);
    const ra::Sequences sequences{.lengths = {23, 9, 1}};
    const Run<Model> together = run_alone(model, x, sequences, false);
    CHECK(compare::same_bits(model(x, sequences), together.output));
    const auto d_output = d_output_for<Model>(together.output);
    std::vector<oracle::Parameters<float>> gradients;
    for (ra::Index b = 0; b < 3; ++b) {
        const ra::Index length = sequences.length(b, 23);
        const auto alone = tensors::slice(tensors::slice(x, 0, b, 1), 1, 0, length);
        typename Model::Cache cache;
        auto gradient = ra::zeros_like(model);
        CHECK(compare::largest_difference(model.forward(alone, cache),
                                          tensors::slice(together.output, 0, b, 1)) < 2e-6);
        const auto d_x = model.backward(tensors::slice(d_output, 0, b, 1), cache, gradient);
        const auto of_entry = tensors::slice(together.d_input, 0, b, 1);
        CHECK(compare::largest_difference(tensors::slice(of_entry, 1, 0, length), d_x) < 1e-5);
        const auto padding = tensors::slice(of_entry, 1, length, 23 - length);
        for (ra::Index i = 0; i < padding.size(); ++i) CHECK(padding.data()[i] == 0);
        gradients.push_back(support::parameters_of<float>(gradient));
    }
    check_sum(together.gradient, gradients);
}

}  // namespace

TEST_CASE("attention options: ranks give the same bits in every layout, with documents and lengths") {
    CHECK_NOTHROW(check_ranks(support::random_model<options_for(ra::Output::all), float>(7), {}));
    CHECK_NOTHROW(check_ranks(support::random_model<options_for(ra::Output::all), float>(7), packed()));
    CHECK_NOTHROW(check_ranks(
        support::random_model<options_for(ra::Output::all, ra::Layout::zigzag), float>(7), packed()));
    CHECK_NOTHROW(check_ranks(
        support::random_model<options_for(ra::Output::all, ra::Layout::striped), float>(7), packed()));
    CHECK_NOTHROW(check_ranks(support::random_model<options_for(ra::Output::mean_pool), float>(7), packed()));
    CHECK_NOTHROW(
        check_ranks(support::random_model<options_for(ra::Output::last_timestep), float>(7), packed()));
}

TEST_CASE("attention options: the parameters are those of grouped heads, and a sink a head") {
    const auto model = ra::build<options_for(ra::Output::all)>();
    std::vector<std::string> names;
    ra::for_each_parameter(model, [&](std::string_view name, const auto& tensor) {
        names.emplace_back(name);
        if (name == "ring_2_qkv.kernel") CHECK(tensor.size() == 8 * (8 + 2 * 4));
        if (name == "ring_2_sinks") {
            CHECK(tensor.size() == 4);
            CHECK(tensor(0) == 0);
        }
    });
    CHECK(std::count(names.begin(), names.end(), "ring_2_sinks") == 1);
}

TEST_CASE("sequences: packed documents give what each gives alone, positions and gradients too") {
    const auto model = ra::build<language_options>(3);
    using Model = std::decay_t<decltype(model)>;
    constexpr ra::Index ends[] = {0, 1, 8, 20};
    ra::Tensor<ra::Token, 2> tokens(2, 20);
    inputs::Numbers numbers(5);
    for (ra::Index i = 0; i < tokens.size(); ++i) tokens.data()[i] = ra::Token(numbers.bits() % 11);
    typename Model::Cache cache;
    auto gradient = ra::zeros_like(model);
    const auto together = model.forward(tokens, cache, {.document_starts = {0, 1, 8}});
    const auto d_output = d_output_for<Model>(together);
    model.backward(d_output, cache, gradient);
    std::vector<oracle::Parameters<float>> gradients;
    for (std::size_t i = 0; i < 3; ++i) {
        const ra::Index first = ends[i], count = ends[i + 1] - first;
        auto of_document = ra::zeros_like(model);
        CHECK(compare::largest_difference(model.forward(tensors::slice(tokens, 1, first, count), cache),
                                          tensors::slice(together, 1, first, count)) < 2e-6);
        model.backward(tensors::slice(d_output, 1, first, count), cache, of_document);
        gradients.push_back(support::parameters_of<float>(of_document));
    }
    check_sum(support::parameters_of<float>(gradient), gradients);
}

TEST_CASE("sequences: with lengths, the last timestep and the mean are those of the true tokens") {
    check_lengths<ra::Output::last_timestep>();
    check_lengths<ra::Output::mean_pool>();
}

TEST_CASE("sequences: of no true tokens, the last timestep and the mean are 0, and so are the gradients") {
    const auto check = [](const auto& model) {
        const auto run = run_alone(model, tensors::normal<float, 3>({1, 4, 5}, 1), {.lengths = {0}});
        for (ra::Index i = 0; i < run.output.size(); ++i) CHECK(run.output.data()[i] == 0);
        for (const auto& parameter : run.gradient)
            for (const float number : parameter.second) CHECK(number == 0);
    };
    check(support::random_model<options_for(ra::Output::last_timestep), float>(7));
    check(support::random_model<options_for(ra::Output::mean_pool), float>(7));
}

TEST_CASE("sequences: what does not fit is refused, and leaves the cache without a pass") {
    const auto model = ra::build<options_for(ra::Output::all)>();
    const auto x = tensors::normal<float, 3>({2, 6, 5}, 1);
    typename std::decay_t<decltype(model)>::Cache cache;
    CHECK_REFUSES(model(x, {.document_starts = {1}}), "Sequences: document_starts[0] is 1", "expected 0");
    CHECK_REFUSES(model(x, {.document_starts = {0, 4, 4}}), "document_starts[2] is 4", "more than", "4");
    CHECK_REFUSES(model(x, {.document_starts = {0, 6}}), "document_starts[1] is 6", "less than", "6");
    CHECK_REFUSES(model(x, {.lengths = {6}}), "Sequences: 1 lengths", "each of 2 batch entries");
    CHECK_REFUSES(model.forward(x, cache, {.lengths = {6, 7}}), "lengths[1] is 7", "0 to", "6");
    CHECK_REFUSES(model.forward(x, cache, {.lengths = {-1, 6}}), "lengths[0] is -1", "0 to", "6");
    auto gradient = ra::zeros_like(model);
    CHECK_REFUSES(model.backward(x, cache, gradient), "no forward pass");
}

TEST_CASE("sequences: ranks that differ in them are found out") {
    const auto model = ra::build<options_for(ra::Output::all)>();
    const auto x = tensors::normal<float, 3>({2, 6, 5}, 1);
    const auto run = [&](const ra::Sequences& of_one, const ra::Sequences& of_other) {
        ra::ThreadRing::run(2, [&](ra::ThreadRing& ring) {
            model(ra::tokens_of(x, model.share(ring, 6)), ring.rank() == 0 ? of_one : of_other, ring);
        });
    };
    CHECK_NOTHROW(run({.lengths = {6, 2}}, {.lengths = {6, 2}}));
    CHECK_REFUSES(run({.lengths = {6, 2}}, {.lengths = {6, 3}}), "rank 1 has other lengths than rank 0");
    CHECK_REFUSES(run({}, {.document_starts = {0, 3}}), "rank 1 has other document_starts than rank 0");
}

}  // namespace models_attention_options
