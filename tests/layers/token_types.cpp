#include <cstdint>

#include <doctest/doctest.h>

#include <ring_attention/layers/token_types.hpp>

#include "support/layer_case.hpp"

namespace layers_token_types {

namespace ra = ring_attention;

namespace {

ra::Sequences some_types() {
    ra::Sequences sequences;
    sequences.token_types = ra::Tensor<std::int32_t, 2>(2, 5);
    sequences.token_types.setValues({{0, 0, 2, 2, 0}, {2, 0, 0, 0, 0}});
    return sequences;
}

}  // namespace

TEST_CASE("token types: finite differences, with types that come often and not at all") {
    support::check_layer<ra::TokenTypes<double, 3, 4>>(
        {.batch = 2, .seq_len = 5, .num_seats = 3, .sequences = some_types()});
    support::check_layer<ra::TokenTypes<double, 3, 4>>({.batch = 2, .seq_len = 5, .num_seats = 2});
}

TEST_CASE("token types: the row of each token's type, without types that of type 0") {
    ra::LocalRing ring;
    const ra::Share share(ra::ChunkLayout(5, 2), 0, 1);
    const ra::Sequences sequences = some_types();
    ra::TokenTypes<double, 3, 4> types;
    support::randomise(types);
    const auto zero = ra::Matrix<double>::Zero(2 * 5, 4);
    const auto y = types.forward(zero, nullptr, ra::Pass{ring, share, 2, {}, 0, false, &sequences});
    ra::Tensor<double, 3> by_token(2, 5, 4);
    ra::leave_seats(y, 2, share, by_token.data());
    for (ra::Index b = 0; b < 2; ++b)
        for (ra::Index t = 0; t < 5; ++t)
            for (ra::Index i = 0; i < 4; ++i)
                CHECK(by_token(b, t, i) == types.table(sequences.token_types(b, t), i));

    const auto without = types.forward(zero, nullptr, ra::Pass{ring, share, 2, {}});
    for (ra::Index row = 0; row < 10; ++row) CHECK(without.row(row) == types.table.row(0));
}

}  // namespace layers_token_types
