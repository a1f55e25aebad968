#include <doctest/doctest.h>

#include <ring_attention/layers/ring_attention.hpp>

#include "support/layer_case.hpp"

namespace ra = ring_attention;

TEST_CASE("ring attention layer: finite differences") {
    support::check_layer<ra::RingAttention<double, 6, 2>>({.batch = 2, .seq_len = 4, .num_seats = 1});
    support::check_layer<ra::RingAttention<double, 6, 2>>({.batch = 2, .seq_len = 5, .num_seats = 3});
    support::check_layer<ra::RingAttention<double, 4, 4>>({.batch = 1, .seq_len = 2, .num_seats = 5});
    support::check_layer<ra::RingAttention<double, 3, 1>>({.batch = 3, .seq_len = 1, .num_seats = 1});
}
