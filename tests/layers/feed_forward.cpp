#include <doctest/doctest.h>

#include <ring_attention/layers/feed_forward.hpp>

#include "support/layer_case.hpp"
#include "support/layer_oracle.hpp"

namespace ra = ring_attention;

TEST_CASE("feed-forward: finite differences") {
    support::check_layer<ra::FeedForward<double, 3, 5>>({.batch = 2, .seq_len = 3, .num_seats = 1});
    support::check_layer<ra::FeedForward<double, 4, 16>>({.batch = 1, .seq_len = 5, .num_seats = 3});
}

TEST_CASE("feed-forward: down(gelu(up(x)))") {
    using R = long double;
    ra::FeedForward<double, 4, 9> layer;
    support::randomise(layer);
    const auto x = inputs::widen<R>(inputs::normal<double>(5 * 4, 1));
    const auto widen = [](const auto& tensor) { return inputs::widen<R>(tensor); };
    const auto inner = oracle::gelu(oracle::dense(x, widen(layer.up.kernel), widen(layer.up.bias)));
    support::check_forward(layer, x, oracle::dense(inner, widen(layer.down.kernel), widen(layer.down.bias)),
                           1e-13);
}
