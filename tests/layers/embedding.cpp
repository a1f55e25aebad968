#include <cmath>

#include <doctest/doctest.h>

#include <ring_attention/layers/copy_parameters.hpp>
#include <ring_attention/layers/embedding.hpp>

#include "support/layer_case.hpp"

namespace layers_embedding {

namespace ra = ring_attention;

TEST_CASE("embedding: finite differences, with tokens that come often and not at all") {
    ra::Embedding<double, 6, 3> embedding;
    support::randomise(embedding);
    ra::Matrix<ra::Token> tokens(7, 1);
    tokens << 4, 0, 4, 2, 4, 0, 5;
    const auto d_rows = support::normal_matrix(7, 3, 1);

    decltype(embedding)::Cache cache;
    const auto rows = embedding.forward(tokens, &cache);
    for (ra::Index i = 0; i < 7; ++i) CHECK(rows.row(i) == embedding.table.row(tokens(i, 0)));
    auto gradient = ra::zeros_like(embedding);
    embedding.backward(d_rows, cache, {gradient, 7});
    const auto loss = [&] { return support::inner_product(embedding.forward(tokens, nullptr), d_rows); };
    CHECK(support::gradient_error(embedding.table, gradient.table, loss) < 1e-9);
    CHECK(gradient.table.row(1).isZero(0));
    CHECK(gradient.table.row(3).isZero(0));

    const ra::Matrix<double> once = gradient.table;
    embedding.backward(d_rows, cache, {gradient, 7});
    CHECK(gradient.table.isApprox(2 * once, 1e-15));
}

TEST_CASE("embedding: a scale, rounded to the type of the weights") {
    constexpr ra::EmbeddingOptions options{.scale = 7.1414284f};  // sqrt(51)
    ra::Embedding<float, 6, 3, options> embedding;
    support::randomise(embedding);
    ra::Matrix<ra::Token> tokens(3, 1);
    tokens << 4, 0, 4;
    decltype(embedding)::Cache cache;
    const auto rows = embedding.forward(tokens, &cache);
    for (ra::Index i = 0; i < 3; ++i)
        for (ra::Index j = 0; j < 3; ++j) CHECK(rows(i, j) == embedding.table(tokens(i, 0), j) * 7.1414284f);

    auto gradient = ra::zeros_like(embedding);
    embedding.backward(ra::Matrix<float>::Ones(3, 3), cache, {gradient, 3});
    CHECK(gradient.table.row(4).isConstant(2 * 7.1414284f, 0));
    CHECK(gradient.table.row(0).isConstant(7.1414284f, 0));
    CHECK(gradient.table.row(1).isZero(0));
}

TEST_CASE("embedding: the padding token's row has no gradient") {
    constexpr ra::EmbeddingOptions options{.padding_token = 0};
    ra::Embedding<double, 6, 3, options> embedding;
    support::randomise(embedding);
    ra::Matrix<ra::Token> tokens(4, 1);
    tokens << 4, 0, 5, 0;
    decltype(embedding)::Cache cache;
    CHECK(embedding.forward(tokens, &cache).row(1) == embedding.table.row(0));
    auto gradient = ra::zeros_like(embedding);
    embedding.backward(ra::Matrix<double>::Ones(4, 3), cache, {gradient, 4});
    CHECK(gradient.table.row(0).isZero(0));
    CHECK(gradient.table.row(4).isOnes(0));
    CHECK(gradient.table.row(5).isOnes(0));
}

TEST_CASE("embedding: initial values have the deviation of the options") {
    const ra::CounterRandom random(1, ra::RandomPurpose::initial_values);
    ra::Embedding<double, 100, 10> embedding;
    ra::Embedding<double, 100, 10, ra::EmbeddingOptions{.deviation = 0.125f}> smaller;
    embedding.initialise(random, 3);
    smaller.initialise(random, 3);
    CHECK(smaller.table == 0.25 * embedding.table);
    CHECK(std::sqrt(embedding.table.squaredNorm() / 1000) == doctest::Approx(0.5).epsilon(0.1));
}

TEST_CASE("embedding: a table kept as bfloat16 gives the bits of the same, widened") {
    constexpr ra::EmbeddingOptions wide{.scale = 1.75f},
        narrow{.scale = 1.75f, .weights = ra::Storage::bfloat16};
    ra::Embedding<float, 7, 37, wide> embedding;
    ra::Embedding<float, 7, 37, narrow> rounded;
    support::randomise(embedding);
    ra::copy_parameters(embedding, rounded);
    ra::copy_parameters(rounded, embedding);
    ra::Matrix<ra::Token> tokens(4, 1);
    tokens << 6, 0, 6, 3;
    CHECK(compare::same_bits(rounded.forward(tokens, nullptr), embedding.forward(tokens, nullptr)));
}

}  // namespace layers_embedding
