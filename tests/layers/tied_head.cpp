#include <doctest/doctest.h>

#include <ring_attention/layers/embedding.hpp>
#include <ring_attention/layers/tied_head.hpp>

#include "support/layer_case.hpp"
#include "support/layer_oracle.hpp"

namespace layers_tied_head {

namespace ra = ring_attention;

namespace {

constexpr ra::Index vocabulary = 7, width = 3, rows = 5;

/// An embedding, and a head tied to it.
struct Tied {
    ra::Embedding<double, vocabulary, width, ra::EmbeddingOptions{.scale = 1.75f}> embedding;
    ra::TiedHead<double, vocabulary, width> head;

    struct Cache {
        decltype(Tied::embedding)::Cache embedding;
        decltype(Tied::head)::Cache head;
    };

    ra::Matrix<double> forward(const ra::Matrix<ra::Token>& tokens, Cache* cache) const {
        return head.forward(embedding.forward(tokens, cache ? &cache->embedding : nullptr), embedding.table,
                            cache ? &cache->head : nullptr);
    }

    void backward(const ra::Matrix<double>& d, const Cache& cache,
                  const ra::SeatGradients<decltype(Tied::embedding)>& gradients) const {
        embedding.backward(
            head.backward(d, embedding.table, cache.head,
                          gradients.part([](auto& gradient) -> auto& { return gradient.table; })),
            cache.embedding, gradients);
    }
};

ra::Matrix<ra::Token> some_tokens() {
    ra::Matrix<ra::Token> tokens(rows, 1);
    tokens << 4, 0, 4, 2, 6;
    return tokens;
}

}  // namespace

TEST_CASE("tied head: x table^T") {
    using R = long double;
    ra::Matrix<double> table = support::normal_matrix(vocabulary, width, 1), kernel = table.transpose(),
                       x = support::normal_matrix(rows, width, 2);
    const auto y = ra::TiedHead<double, vocabulary, width>{}.forward(x, table, nullptr);
    CHECK(compare::largest_difference(y, oracle::dense(inputs::widen<R>(x), inputs::widen<R>(kernel),
                                                       std::vector<R>(std::size_t(vocabulary)))) < 1e-14);
}

TEST_CASE("tied head: finite differences of a table that is embedding and head") {
    Tied tied;
    support::randomise(tied.embedding);
    const auto d = support::normal_matrix(rows, vocabulary, 1);
    Tied::Cache cache;
    CHECK(compare::same_bits(tied.forward(some_tokens(), &cache), tied.forward(some_tokens(), nullptr)));
    auto gradient = ra::zeros_like(tied.embedding);
    tied.backward(d, cache, {gradient, rows});
    const auto loss = [&] { return support::inner_product(tied.forward(some_tokens(), nullptr), d); };
    CHECK(support::gradient_error(tied.embedding.table, gradient.table, loss) < 1e-8);

    const ra::Matrix<double> once = gradient.table;
    tied.backward(d, cache, {gradient, rows});
    CHECK(gradient.table.isApprox(2 * once, 1e-14));
}

TEST_CASE("tied head: finite differences of its input") {
    const ra::TiedHead<double, vocabulary, width> head;
    ra::Matrix<double> table = support::normal_matrix(vocabulary, width, 1),
                       x = support::normal_matrix(rows, width, 2),
                       d = support::normal_matrix(rows, vocabulary, 3),
                       d_table = ra::Matrix<double>::Zero(vocabulary, width);
    decltype(head)::Cache cache;
    head.forward(x, table, &cache);
    const auto d_x = head.backward(d, table, cache, {d_table, rows});
    const auto loss = [&] { return support::inner_product(head.forward(x, table, nullptr), d); };
    CHECK(support::gradient_error(x, d_x, loss) < 1e-8);
    CHECK(support::gradient_error(table, d_table, loss) < 1e-8);
}

}  // namespace layers_tied_head
