#include <doctest/doctest.h>

#include <ring_attention/kernels/mask.hpp>

namespace ra = ring_attention;

TEST_CASE("a query sees the keys at its position and before, or all") {
    const ra::TokenRun keys{10, 5};
    const ra::Mask causal{true}, full{false};
    CHECK(causal.visible(9, keys) == 0);
    CHECK(causal.visible(10, keys) == 1);
    CHECK(causal.visible(13, keys) == 4);
    CHECK(causal.visible(14, keys) == 5);
    CHECK(causal.visible(100, keys) == 5);
    for (const ra::Index position : {0, 12, 100}) CHECK(full.visible(position, keys) == 5);
}
