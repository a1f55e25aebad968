#include <doctest/doctest.h>

#include <ring_attention/layers/block.hpp>

#include "support/layer_case.hpp"

namespace layers_block {

namespace {

namespace ra = ring_attention;

using Block = ra::Block<double, ra::BlockOptions{.width = 4, .heads = 2, .dropout = 0.25f}>;

}  // namespace

TEST_CASE("block: finite differences") {
    support::check_layer<Block>({.batch = 2, .seq_len = 5, .num_seats = 3});
}

TEST_CASE("block: finite differences with dropout") {
    support::check_layer<Block>({.batch = 2, .seq_len = 3, .num_seats = 2}, ra::Dropout{.seed = 4});
}

}  // namespace layers_block
