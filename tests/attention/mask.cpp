// Which keys a query sees, against one query and key at a time.

#include <algorithm>
#include <vector>

#include <doctest/doctest.h>

#include <ring_attention/attention/mask.hpp>

#include "support/layouts.hpp"
#include "support/masks.hpp"

namespace attention_mask {

namespace ra = ring_attention;
using ra::Index;

namespace {

/// Calls f(mask), with its name told.
template <class F>
void for_each_mask(Index key_len, const F& f) {
    for (const auto& named : support::every_mask(key_len)) {
        INFO(named.first, ", ", key_len, " keys");
        f(named.second);
    }
}

bool lies_in(Index position, const ra::IndexRange& range) {
    return position >= range.first && position < range.end();
}

/// One query and key after the other, in some batch entry.
bool any_sees(const ra::Mask& mask, const ra::TokenPositions& queries, const ra::TokenPositions& keys) {
    for (Index batch = 0; batch < 2; ++batch)
        for (const Index query : support::positions_of(queries))
            for (const Index key : support::positions_of(keys))
                if (support::sees(mask, batch, query, key)) return true;
    return false;
}

}  // namespace

TEST_CASE("mask: a query sees an interval of keys, wherever it stands") {
    for (const Index key_len : {1, 2, 17, 40})
        for_each_mask(key_len, [&](const ra::Mask& mask) {
            for (Index batch = 0; batch < 2; ++batch)
                for (Index query = -7; query < 2 * key_len + 9; ++query) {
                    const ra::IndexRange visible = mask.visible(batch, query);
                    CAPTURE(batch);
                    CAPTURE(query);
                    REQUIRE(visible.count >= 0);
                    for (Index key = -3; key < key_len + 3; ++key) {
                        CAPTURE(key);
                        REQUIRE(lies_in(key, visible) == support::sees(mask, batch, query, key));
                    }
                }
        });
}

TEST_CASE("mask: neither end of what a query sees falls as the query moves on") {
    for (const Index key_len : {1, 2, 17, 40})
        for_each_mask(key_len, [&](const ra::Mask& mask) {
            for (Index batch = 0; batch < 2; ++batch)
                for (Index query = -7; query < 2 * key_len + 9; ++query) {
                    const ra::IndexRange one = mask.visible(batch, query),
                                         next = mask.visible(batch, query + 1);
                    CAPTURE(query);
                    REQUIRE(next.first >= one.first);
                    REQUIRE(next.end() >= one.end());
                }
        });
}

TEST_CASE("mask: some batch entry sees what the longest sees") {
    for (const Index key_len : {1, 17, 40})
        for_each_mask(key_len, [&](const ra::Mask& mask) {
            for (Index query = -7; query < 2 * key_len + 9; ++query) {
                const ra::IndexRange some = mask.visible_to_some(query);
                for (Index key = 0; key < key_len; ++key) {
                    CAPTURE(query);
                    CAPTURE(key);
                    REQUIRE(lies_in(key, some) ==
                            (support::sees(mask, 0, query, key) || support::sees(mask, 1, query, key)));
                }
            }
        });
}

TEST_CASE("mask: whether any query of a seat sees any key of a seat, in every layout") {
    for (const ra::Layout layout : support::every_layout)
        for (const Index seats : {1, 2, 3, 5})
            for (const Index key_len : {1, 4, 17, 31})
                for (const Index query_len : {1, 9, 31})
                    for (const Index offset : {-5, 0, 12})
                        for_each_mask(key_len, [&](const ra::Mask& mask) {
                            const ra::ChunkLayout query_layout(query_len, seats, layout),
                                key_layout(key_len, seats, layout);
                            for (Index query_seat = 0; query_seat < seats; ++query_seat)
                                for (Index key_seat = 0; key_seat < seats; ++key_seat) {
                                    ra::TokenPositions queries = query_layout.tokens(query_seat);
                                    queries.first += offset;
                                    const ra::TokenPositions keys = key_layout.tokens(key_seat);
                                    INFO(support::name_of(layout), ", ", query_len, " queries from ", offset,
                                         " on, seats ", query_seat, " and ", key_seat, " of ", seats);
                                    REQUIRE(mask.any_visible(queries, keys) == any_sees(mask, queries, keys));
                                }
                        });
}

TEST_CASE("mask: whether any query sees any key, with gaps and strides of both") {
    const std::vector<ra::TokenPositions> keys_of_all_kinds{
        {0, 0}, {4, 2}, {9, 3, 2}, {3, 2, 1, 0, 7}, {1, 3, 1, 1, 9}, {0, 4, 6}, {12, 4, 5, 1, 2}};
    for_each_mask(29, [&](const ra::Mask& mask) {
        for (const Index first : {0, 5, 11})
            for (Index count = 0; count <= 4; ++count)
                for (const Index stride : {1, 2, 7})
                    for (const Index gap : {0, 1, 9})
                        for (Index gap_at = 0; gap_at <= count; ++gap_at)
                            for (const ra::TokenPositions& keys : keys_of_all_kinds) {
                                const ra::TokenPositions queries{first, count, stride, gap_at, gap};
                                CAPTURE(first);
                                CAPTURE(count);
                                CAPTURE(stride);
                                CAPTURE(gap_at);
                                CAPTURE(gap);
                                CAPTURE(keys.first);
                                REQUIRE(mask.any_visible(queries, keys) == any_sees(mask, queries, keys));
                            }
    });
}

}  // namespace attention_mask
