#include <doctest/doctest.h>

#include <ring_attention/layers/embedding.hpp>

#include "support/layer_case.hpp"

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
