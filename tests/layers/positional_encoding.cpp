#include <cmath>

#include <doctest/doctest.h>

#include <ring_attention/layers/positional_encoding.hpp>

#include "support/layer_case.hpp"

namespace layers_positional_encoding {

namespace ra = ring_attention;

TEST_CASE("positional encoding: finite differences") {
    support::check_layer<ra::PositionalEncoding<double, 5>>({.batch = 2, .seq_len = 5, .num_seats = 3});
}

TEST_CASE(
    "positional encoding: waves of the position in the sequence, whatever the seat and the batch entry") {
    ra::LocalRing ring;
    const ra::Share share(ra::ChunkLayout(7, 3), 0, 1);
    const ra::Pass pass{ring, share, 2, {}};
    const ra::Matrix<double> x = ra::Matrix<double>::Zero(2 * 7, 4);
    const auto y = ra::PositionalEncoding<double, 4>{}.forward(x, nullptr, pass);
    for (ra::Index seat = 0; seat < 3; ++seat)
        for (ra::Index row = 0; row < 2 * share.tokens(seat).count; ++row) {
            const auto tokens = share.tokens(seat);
            const double position = double(tokens.first + row % tokens.count);
            const ra::RowVector<double> waves = y.row(ra::rows_of_seat(share, 2, seat).first + row);
            CHECK(waves[0] == doctest::Approx(std::sin(position)).epsilon(1e-14));
            CHECK(waves[1] == doctest::Approx(std::cos(position)).epsilon(1e-14));
            CHECK(waves[2] == doctest::Approx(std::sin(position / 100)).epsilon(1e-14));
            CHECK(waves[3] == doctest::Approx(std::cos(position / 100)).epsilon(1e-14));
        }
}

}  // namespace layers_positional_encoding
