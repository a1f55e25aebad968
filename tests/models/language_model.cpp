#include <cmath>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include <ring_attention/models/build.hpp>
#include <ring_attention/ring/thread/thread_ring.hpp>
#include <ring_attention/sequence/scatter.hpp>
#include <ring_attention/training/adamw.hpp>
#include <ring_attention/training/clip.hpp>
#include <ring_attention/training/cross_entropy.hpp>

#include "support/compare.hpp"
#include "support/error_message.hpp"
#include "support/layouts.hpp"
#include "support/tensors.hpp"

namespace models_language_model {

namespace ra = ring_attention;

namespace {

constexpr ra::LanguageOptions options{
    .vocabulary = 11, .hidden_size = 12, .num_heads = 2, .num_chunks = 4, .num_layers = 2, .dropout = 0.2f};
using Model = ra::LanguageModel<options, double>;
using Tokens = ra::Tensor<ra::Token, 2>;

constexpr ra::Index batch = 2, seq_len = 9;

Tokens some_tokens(ra::Index shift) {
    Tokens tokens(batch, seq_len);
    for (ra::Index b = 0; b < batch; ++b)
        for (ra::Index t = 0; t < seq_len; ++t)
            tokens(b, t) = ra::Token((b * 5 + (t + shift) * (t + shift)) % 7);
    return tokens;
}

template <class Model>
struct Step {
    double loss;
    ra::Tensor<double, 3> logits;
    Model gradient;
};

/// Loss and gradient of one training step on this rank's tokens.
template <class Model, class Ring>
Step<Model> step(const Model& model, const Tokens& tokens, const Tokens& targets, Ring& ring) {
    typename Model::Cache cache;
    const auto logits = model.forward(tokens, cache, ra::Dropout{4, 5}, ring);
    const auto result = ra::cross_entropy(logits, targets, ring);
    Model gradient = ra::zeros_like(model);
    model.backward(result.d_logits, cache, gradient, ring);
    return {result.loss, logits, gradient};
}

void check_ranks(ra::Layout layout) {
    Model model = ra::build<options, double>(2);
    model.layout = layout;
    const Tokens tokens = some_tokens(0), targets = some_tokens(1);
    ra::LocalRing local;
    const Step<Model> whole = step(model, tokens, targets, local);
    for (const int ranks : {1, 2, 3, 4}) {
        INFO(support::name_of(layout), ", ", ranks, " ranks");
        std::vector<Step<Model>> steps(static_cast<std::size_t>(ranks), whole);
        ra::ThreadRing::run(ranks, [&](ra::ThreadRing& ring) {
            const ra::Share share = model.share(ring, seq_len);
            const auto mine = [&](const Tokens& of) { return ra::tokens_of(of, share); };
            steps[std::size_t(ring.rank())] = step(model, mine(tokens), mine(targets), ring);
        });
        auto logits = whole.logits;
        logits.setZero();
        for (int rank = 0; rank < ranks; ++rank) {
            const Step<Model>& of_rank = steps[std::size_t(rank)];
            CHECK(of_rank.loss == whole.loss);
            ra::put_tokens(of_rank.logits,
                           ra::Share(ra::ChunkLayout(seq_len, options.num_chunks, layout), rank, ranks),
                           logits);
            ra::for_each_parameter_in_step(
                [](std::string_view name, const auto& a, const auto& b) {
                    CAPTURE(name);
                    CHECK(compare::same_bits(a, b));
                },
                of_rank.gradient, whole.gradient);
        }
        CHECK(compare::same_bits(logits, whole.logits));
    }
}

}  // namespace

TEST_CASE(
    "the language model's parameters have the names of the blocks' files, and one table and head more") {
    const auto model = ra::build<options, double>(1);
    std::vector<std::string> names;
    ra::for_each_parameter(model, [&](std::string_view name, const auto&) { names.emplace_back(name); });
    CHECK(names.front() == "embedding.table");
    CHECK(names[1] == "ring_1_attn_norm.gamma");
    CHECK(names[names.size() - 3] == "final_norm.beta");
    CHECK(names.back() == "head.bias");
}

TEST_CASE("logits have the vocabulary's width, and a token changes those at its place and after only") {
    const auto model = ra::build<options, double>(1);
    Tokens tokens = some_tokens(0);
    const auto before = model(tokens);
    CHECK(before.dimension(0) == batch);
    CHECK(before.dimension(1) == seq_len);
    CHECK(before.dimension(2) == options.vocabulary);
    tokens(0, 5) = 10;
    const auto after = model(tokens);
    const auto head = [](const auto& logits) { return tensors::slice(logits, 1, 0, 5); };
    const auto tail = [](const auto& logits) { return tensors::slice(logits, 1, 5, seq_len - 5); };
    CHECK(compare::same_bits(head(before), head(after)));
    CHECK_FALSE(compare::same_bits(tail(before), tail(after)));
}

TEST_CASE("the loss's gradient is right for every parameter") {
    auto model = ra::build<options, double>(2);
    const Tokens tokens = some_tokens(0), targets = some_tokens(1);
    ra::LocalRing ring;
    const Step<Model> at = step(model, tokens, targets, ring);
    ra::for_each_parameter_in_step(
        [&](std::string_view name, auto& tensor, const auto& d) {
            CAPTURE(name);
            for (ra::Index i = 0; i < tensor.size(); i += 1 + tensor.size() / 12) {
                const double value = tensor.data()[i], h = 1e-5;
                tensor.data()[i] = value + h;
                const double above = step(model, tokens, targets, ring).loss;
                tensor.data()[i] = value - h;
                const double below = step(model, tokens, targets, ring).loss;
                tensor.data()[i] = value;
                CHECK(std::abs((above - below) / (2 * h) - d.data()[i]) < 1e-8);
            }
        },
        model, at.gradient);
}

TEST_CASE("loss, logits and gradient have the same bits on any number of ranks") {
    for (const ra::Layout layout : support::every_layout) check_ranks(layout);
}

TEST_CASE("it learns a text by heart") {
    auto model = ra::build<options, double>(1);
    ra::AdamW optimiser(model);
    const Tokens tokens = some_tokens(0), targets = some_tokens(1);
    double loss = 0;
    for (int i = 0; i < 150; ++i) {
        Model::Cache cache;
        const auto result = ra::cross_entropy(model.forward(tokens, cache), targets);
        auto gradient = ra::zeros_like(model);
        model.backward(result.d_logits, cache, gradient);
        ra::clip_by_global_norm(gradient, 1);
        optimiser.step(model, gradient, 1e-2);
        loss = result.loss;
    }
    CHECK(loss < 0.05);
}

TEST_CASE("a token that is not in the vocabulary is refused") {
    const auto model = ra::build<options, double>(1);
    Tokens tokens = some_tokens(0);
    tokens(1, 3) = 11;
    CHECK_REFUSES(model(tokens), "token 11", "0 to 10");
    tokens(1, 3) = -1;
    CHECK_REFUSES(model(tokens), "token -1");
    CHECK_REFUSES(model(Tokens(1, 0)), "seq_len is 0");
    CHECK_REFUSES(model(Tokens(0, 3)), "[0, 3]", "batch");
}

}  // namespace models_language_model
