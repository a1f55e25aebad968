// Which keys a query sees, against lists of positions.

#include <doctest/doctest.h>

#include <ring_attention/attention/mask.hpp>

#include "support/token_positions.hpp"

namespace ra = ring_attention;
using namespace support;

TEST_CASE("mask: a query sees the keys at its position and before, or all") {
    for_each_run([](const ra::TokenPositions& keys) {
        for (Index position = 0; position < 45; ++position) {
            CHECK(ra::Mask{true}.visible(position, keys) == count_up_to(walk(keys), position));
            CHECK(ra::Mask{false}.visible(position, keys) == keys.count);
        }
    });
}

TEST_CASE("mask: whether any query sees any key") {
    for_each_run([](const ra::TokenPositions& queries) {
        const Positions query_positions = walk(queries);
        for (const ra::TokenPositions& keys :
             {ra::TokenPositions{0, 0}, ra::TokenPositions{4, 2}, ra::TokenPositions{9, 3, 2},
              ra::TokenPositions{3, 2, 1, 0, 7}, ra::TokenPositions{12, 4, 5, 1, 2}}) {
            const Positions key_positions = walk(keys);
            bool causal = false;
            for (const Index query : query_positions)
                causal = causal || count_up_to(key_positions, query) > 0;
            CHECK(ra::Mask{true}.any_visible(queries, keys) == causal);
            CHECK(ra::Mask{false}.any_visible(queries, keys) == (queries.count > 0 && keys.count > 0));
        }
    });
}
