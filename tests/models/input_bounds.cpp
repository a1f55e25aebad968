// What the tables of a model cannot take is refused before anything is computed, by the same sentence on
// every rank.

#include <cstdint>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include <ring_attention/layers/dense.hpp>
#include <ring_attention/layers/learned_positions.hpp>
#include <ring_attention/layers/sequential.hpp>
#include <ring_attention/layers/token_types.hpp>
#include <ring_attention/models/model.hpp>
#include <ring_attention/models/stream.hpp>
#include <ring_attention/ring/thread/thread_ring.hpp>
#include <ring_attention/sequence/scatter.hpp>

#include "support/compare.hpp"
#include "support/error_message.hpp"
#include "support/layer_case.hpp"
#include "support/tensors.hpp"

namespace models_input_bounds {

namespace ra = ring_attention;

namespace {

using Body = ra::Sequential<ra::LearnedPositions<double, 6, 4>, ra::TokenTypes<double, 2, 4>>;
using Model = ra::Model<Body, ra::Output::all>;
using Plain = ra::Model<ra::Sequential<ra::Dense<double, 4, 4>>, ra::Output::all>;
using Types = ra::Tensor<std::int32_t, 2>;

Model random_model() {
    Model model;
    support::randomise(model);
    return model;
}

ra::Tensor<double, 3> input(ra::Index count) {
    return tensors::normal<double, 3>({1, count, 4}, 1);
}

ra::Sequences with_types(const Types& types) {
    ra::Sequences sequences;
    sequences.token_types = types;
    return sequences;
}

Types types_of(ra::Index count, std::int32_t type) {
    Types types(1, count);
    types.setConstant(type);
    return types;
}

/// What each of three ranks says where it has these types for its share of 6 tokens.
std::vector<std::string> said_by_ranks(auto&& types_of_rank) {
    const Model model = random_model();
    const auto x = input(6);
    std::vector<std::string> said(3);
    ra::ThreadRing::run(3, [&](ra::ThreadRing& ring) {
        const ra::Share share = model.share(ring, 6);
        said[std::size_t(ring.rank())] = support::error_message([&] {
            model(ra::tokens_of(x, share), with_types(types_of_rank(ring.rank(), share.num_tokens())), ring);
        });
    });
    return said;
}

}  // namespace

TEST_CASE("bounds: as many positions as there are, and no more") {
    const Model model = random_model();
    CHECK_NOTHROW(model(input(6)));
    CHECK_REFUSES(model(input(7)), "a document has 7 tokens, expected at most 6");
    CHECK_NOTHROW(model(input(9), {.document_starts = {0, 3}}));
    CHECK_REFUSES(model(input(9), {.document_starts = {0, 2}}),
                  "a document has 7 tokens, expected at most 6");
    CHECK_REFUSES(model(input(9), {.document_starts = {0, 7}}),
                  "a document has 7 tokens, expected at most 6");
    CHECK_THROWS_AS(model(input(7)), ra::ShapeError);
}

TEST_CASE("bounds: a stream stops at the last position, as it was, until the next document") {
    const Model model = random_model();
    ra::Stream stream{model};
    const auto whole = model(input(6));
    ra::Tensor<double, 3> first = input(6).slice(std::array<long, 3>{0, 0, 0}, std::array<long, 3>{1, 4, 4});
    stream.push(first);
    CHECK_REFUSES(stream.push(input(3)), "push: 3 tokens after 4 of the document, expected at most 6");
    CHECK(stream.size() == 4);
    ra::Tensor<double, 3> rest = input(6).slice(std::array<long, 3>{0, 4, 0}, std::array<long, 3>{1, 2, 4});
    const auto last = stream.push(rest);
    for (ra::Index i = 0; i < 4; ++i) CHECK(last(0, i) == whole(0, 5, i));
    CHECK_REFUSES(stream.push(input(1)), "push: 1 tokens after 6 of the document, expected at most 6");
    stream.begin_document();
    CHECK_NOTHROW(stream.push(input(6)));
}

TEST_CASE("bounds: token types that do not fit") {
    const Model model = random_model();
    CHECK_NOTHROW(model(input(6), with_types(types_of(6, 1))));
    CHECK_REFUSES(model(input(6), with_types(types_of(6, 2))), "token_types has type 2, expected 0 to 1");
    CHECK_REFUSES(model(input(6), with_types(types_of(6, -1))), "token_types has type -1, expected 0 to 1");
    CHECK_REFUSES(model(input(6), with_types(types_of(5, 1))),
                  "token_types has shape [1, 5], expected [1, 6]");
    CHECK_THROWS_AS(model(input(6), with_types(types_of(5, 1))), ra::ShapeError);
    CHECK_REFUSES(Plain{}(input(6), with_types(types_of(6, 0))), "the model has no token types");
}

TEST_CASE("bounds: all ranks say the same of token types") {
    const auto alike = [](const std::vector<std::string>& said) {
        return said[0] == said[1] && said[1] == said[2];
    };
    const auto fine = said_by_ranks([](int, ra::Index count) { return types_of(count, 1); });
    CHECK((alike(fine) && fine[0] == "no error"));
    const auto one_wrong =
        said_by_ranks([](int rank, ra::Index count) { return types_of(count, rank == 1 ? 7 : 1); });
    CHECK((alike(one_wrong) && one_wrong[0] == "rank 1 has token_types with type 7, which the model has not, "
                                               "expected that of rank 0, that fit"));
    const auto one_absent =
        said_by_ranks([](int rank, ra::Index count) { return rank == 2 ? Types() : types_of(count, 1); });
    CHECK((alike(one_absent) &&
           one_absent[0].find("rank 2 has token_types that are absent") != std::string::npos));
    const auto all_wrong = said_by_ranks([](int, ra::Index count) { return types_of(count, -3); });
    CHECK((alike(all_wrong) && all_wrong[0] == "Sequences: token_types has type -3, expected 0 to 1"));
}

TEST_CASE("bounds: token types on ranks give the bits of one process, forward and backward") {
    const Model model = random_model();
    const auto x = input(6), d_y = tensors::normal<double, 3>({1, 6, 4}, 2);
    Types types(1, 6);
    types.setValues({{0, 1, 1, 0, 1, 0}});
    const auto whole = model(x, with_types(types));
    Model::Cache cache;
    model.forward(x, cache, with_types(types));
    Model expected = ra::zeros_like(model);
    model.backward(d_y, cache, expected);
    ra::ThreadRing::run(3, [&](ra::ThreadRing& ring) {
        const ra::Share share = model.share(ring, 6);
        Model::Cache own_cache;
        const auto own_types = ra::tokens_of(types, share);
        const auto y = model.forward(ra::tokens_of(x, share), own_cache, with_types(own_types), ring);
        if (!compare::same_bits(y, ra::tokens_of(whole, share))) throw ra::Error("another output");
        Model gradient = ra::zeros_like(model);
        model.backward(ra::tokens_of(d_y, share), own_cache, gradient, ring);
        ra::for_each_parameter_in_step(
            [](std::string_view name, const auto& given, const auto& wanted) {
                if (!compare::same_bits(given, wanted))
                    throw ra::Error("another gradient: " + std::string(name));
            },
            gradient, expected);
    });
}

}  // namespace models_input_bounds
