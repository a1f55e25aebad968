// A model whose head is tied to its embedding: one table, and its gradient from both, the same on all ranks.

#include <string>
#include <string_view>
#include <vector>

#include <doctest/doctest.h>

#include <ring_attention/layers/dense.hpp>
#include <ring_attention/layers/learned_positions.hpp>
#include <ring_attention/layers/soft_cap.hpp>
#include <ring_attention/layers/with_tied_head.hpp>
#include <ring_attention/models/model.hpp>
#include <ring_attention/models/stream.hpp>
#include <ring_attention/ring/thread/thread_ring.hpp>
#include <ring_attention/sequence/scatter.hpp>

#include "support/compare.hpp"
#include "support/finite_differences.hpp"
#include "support/layer_case.hpp"
#include "support/tensors.hpp"

namespace layers_with_tied_head {

namespace ra = ring_attention;

namespace {

constexpr ra::Index vocabulary = 7, seq_len = 8;

using Trunk = ra::Sequential<
    ra::Named<"embedding", ra::Embedding<double, vocabulary, 3, ra::EmbeddingOptions{.scale = 1.75f}>>,
    ra::Named<"positions", ra::LearnedPositions<double, seq_len, 3>>,
    ra::Named<"mix", ra::Dense<double, 3, 3>>>;
using Body = ra::Sequential<ra::Named<"", ra::WithTiedHead<Trunk>>,
                            ra::Named<"cap", ra::SoftCap<double, vocabulary, ra::SoftCapOptions{.cap = 4}>>>;
using Model = ra::Model<Body, ra::Output::all>;

Model random_model() {
    Model model;
    support::randomise(model);
    return model;
}

ra::Tensor<ra::Token, 2> some_tokens() {
    ra::Tensor<ra::Token, 2> tokens(2, seq_len);
    tokens.setValues({{0, 4, 4, 2, 6, 4, 0, 1}, {4, 4, 1, 0, 2, 2, 6, 6}});
    return tokens;
}

}  // namespace

TEST_CASE("with a tied head: the table is a parameter once") {
    const Model model = random_model();
    std::vector<std::string> names;
    ra::for_each_parameter(model, [&](std::string_view name, auto&) { names.emplace_back(name); });
    CHECK(names == std::vector<std::string>{"embedding.table", "positions.table", "mix.kernel", "mix.bias"});
}

TEST_CASE("with a tied head: finite differences, and the same bits on three ranks") {
    Model model = random_model();
    const auto tokens = some_tokens();
    const auto d = tensors::normal<double, 3>({2, seq_len, vocabulary}, 1);
    Model::Cache cache;
    const auto y = model.forward(tokens, cache);
    Model gradient = ra::zeros_like(model);
    model.backward(d, cache, gradient);
    const auto loss = [&] { return support::inner_product(model(tokens), d); };
    ra::for_each_parameter_in_step(
        [&](std::string_view name, auto& parameter, const auto& d_parameter) {
            INFO("parameter ", std::string(name));
            CHECK(support::gradient_error(parameter, d_parameter, loss) < 1e-8);
        },
        model, gradient);

    ra::ThreadRing::run(3, [&](ra::ThreadRing& ring) {
        const ra::Share share = model.share(ring, seq_len);
        Model::Cache own_cache;
        const auto own_y = model.forward(ra::tokens_of(tokens, share), own_cache, ring);
        if (!compare::same_bits(own_y, ra::tokens_of(y, share))) throw ra::Error("another output");
        Model own_gradient = ra::zeros_like(model);
        model.backward(ra::tokens_of(d, share), own_cache, own_gradient, ring);
        ra::for_each_parameter_in_step(
            [](std::string_view name, const auto& given, const auto& wanted) {
                if (!compare::same_bits(given, wanted))
                    throw ra::Error("another gradient: " + std::string(name));
            },
            own_gradient, gradient);
    });
}

TEST_CASE("with a tied head: a stream gives what the model gives") {
    const Model model = random_model();
    const auto tokens = some_tokens();
    const auto y = model(tokens);
    ra::Stream stream{model, {.batch = 2}};
    CHECK(compare::largest_difference(stream.push_all(tokens), y) < 1e-14);
}

}  // namespace layers_with_tied_head
