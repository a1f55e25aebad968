#include <cstddef>

#include <doctest/doctest.h>

#include <ring_attention/attention/visible_seats.hpp>
#include <ring_attention/sequence/share.hpp>

namespace attention_visible_seats {

namespace ra = ring_attention;
using ra::Index;

TEST_CASE("visible seats: the answer of the mask for every pair of seats") {
    for (const auto layout : {ra::Layout::contiguous, ra::Layout::zigzag, ra::Layout::striped})
        for (const Index window : {0, 3}) {
            const ra::Mask mask{23, true, window};
            const ra::ChunkLayout chunks(23, 6, layout);
            const ra::Share own(chunks, 1, 4), visiting(chunks, 2, 4);
            ra::List<ra::TokenPositions> queries;
            for (Index seat = 0; seat < own.num_seats(); ++seat) queries.push_back(own.tokens(seat));
            ra::KeyValues<const float> visitors;
            for (Index seat = 0; seat < visiting.num_seats(); ++seat)
                visitors.push_back({visiting.tokens(seat), {}, {}});
            for (const ra::TokenPositions& tokens : queries) visitors.push_back({tokens, {}, {}});
            REQUIRE(visitors.size() != queries.size());
            const ra::detail::VisibleSeats sees(mask, queries, visitors);
            for (std::size_t query = 0; query < queries.size(); ++query)
                for (std::size_t key = 0; key < visitors.size(); ++key)
                    CHECK(sees(Index(query), Index(key)) ==
                          mask.any_visible(queries[query], visitors[key].tokens));
        }
}

}  // namespace attention_visible_seats
