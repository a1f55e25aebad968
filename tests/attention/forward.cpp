#include <algorithm>
#include <vector>

#include <doctest/doctest.h>

#include <ring_attention/attention/forward.hpp>

#include "support/layouts.hpp"

namespace {

namespace ra = ring_attention;
using ra::Index;

/// Calls f(tokens of each seat, heads, places of blocks of up to max_queries) for the ranks of a ring.
template <class F>
void for_each_rank(const F& f) {
    const ra::HeadShape shape{2, 3, 4};
    for (const ra::Layout layout : support::every_layout)
        for (const Index seq_len : {1, 3, 17, 90, 201})
            for (const int ranks : {1, 2, 5})
                for (const Index max_queries : {1, 8, 16, 256}) {
                    INFO(support::name_of(layout), ", ", seq_len, " tokens, ", ranks, " ranks, blocks of ",
                         max_queries);
                    for (int rank = 0; rank < ranks; ++rank) {
                        const ra::Share share(ra::ChunkLayout(seq_len, 5, layout), rank, ranks);
                        ra::List<ra::TokenPositions> seats;
                        for (Index seat = 0; seat < share.num_seats(); ++seat)
                            seats.push_back(share.tokens(seat));
                        f(seats, shape.batch_heads(), ra::detail::query_places(seats, shape, max_queries),
                          max_queries);
                    }
                }
}

}  // namespace

TEST_CASE("blocks of queries hold every query of every head and seat once, and no more than they may") {
    for_each_rank([](const auto& seats, Index heads, const auto& places, Index max_queries) {
        std::vector<std::vector<int>> taken;  // [seat][head and query]
        for (const ra::TokenPositions& tokens : seats)
            taken.emplace_back(std::size_t(heads * tokens.count), 0);
        for (const auto& place : places) {
            CHECK(place.count >= 1);
            CHECK(place.count <= max_queries);
            const auto seat = std::size_t(place.seat);
            for (Index i = 0; i < place.count; ++i)
                ++taken[seat].at(std::size_t(place.batch_head * seats[seat].count + place.first + i));
        }
        for (const auto& of_seat : taken)
            CHECK(std::all_of(of_seat.begin(), of_seat.end(), [](int times) { return times == 1; }));
    });
}

TEST_CASE("blocks of queries are of neighbours, or of tokens a stride apart: none lies across a gap") {
    for_each_rank([](const auto& seats, Index, const auto& places, Index) {
        for (const auto& place : places) {
            const ra::TokenPositions& tokens = seats[std::size_t(place.seat)];
            CHECK(tokens.position(place.first + place.count - 1) - tokens.position(place.first) ==
                  tokens.stride * (place.count - 1));
        }
    });
}

TEST_CASE("blocks of queries come head by head, and of a head the latest of its seat first") {
    for_each_rank([](const auto&, Index, const auto& places, Index) {
        for (std::size_t i = 1; i < places.size(); ++i) {
            const auto &before = places[i - 1], &place = places[i];
            CHECK(place.batch_head >= before.batch_head);
            if (place.batch_head != before.batch_head) continue;
            CHECK(place.seat <= before.seat);
            if (place.seat == before.seat) CHECK(place.first < before.first);
        }
    });
}
