#include <doctest/doctest.h>

#include <ring_attention/layers/learned_positions.hpp>

#include "support/layer_case.hpp"

namespace layers_learned_positions {

namespace ra = ring_attention;

TEST_CASE(
    "learned positions: finite differences, whole and in documents, of which one seat may hold several") {
    support::check_layer<ra::LearnedPositions<double, 9, 3>>({.batch = 2, .seq_len = 7, .num_seats = 3});
    support::check_layer<ra::LearnedPositions<double, 9, 3>>(
        {.batch = 2, .seq_len = 9, .num_seats = 2, .sequences = {.document_starts = {0, 2, 4, 5}}});
}

TEST_CASE(
    "learned positions: the row of the position in the document, whatever the seat and the batch entry") {
    ra::LocalRing ring;
    const ra::Share share(ra::ChunkLayout(7, 3), 0, 1);
    const ra::Sequences sequences{.document_starts = {0, 4}};
    const ra::Pass pass{ring, share, 2, {}, 0, false, &sequences};
    ra::LearnedPositions<double, 5, 4> positions;
    support::randomise(positions);
    const auto y = positions.forward(ra::Matrix<double>::Zero(2 * 7, 4), nullptr, pass);
    for (ra::Index seat = 0; seat < 3; ++seat)
        for (ra::Index row = 0; row < 2 * share.tokens(seat).count; ++row) {
            const auto tokens = share.tokens(seat);
            const ra::Index position = tokens.first + row % tokens.count;
            CHECK(y.row(ra::rows_of_seat(share, 2, seat).first + row) ==
                  positions.table.row(position < 4 ? position : position - 4));
        }
}

}  // namespace layers_learned_positions
