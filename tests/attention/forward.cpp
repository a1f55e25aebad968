#include <algorithm>
#include <vector>

#include <doctest/doctest.h>

#include <ring_attention/attention/forward.hpp>

#include "support/layouts.hpp"

namespace attention_forward {

namespace {

namespace ra = ring_attention;
using ra::Index;

/// Calls f(tokens of each seat, heads, places of blocks of up to max_queries) for the ranks of a ring.
template <class F>
void for_each_rank(const F& f) {
    for (const ra::HeadShape& shape : {ra::HeadShape{2, 3, 3, 4, 4}, ra::HeadShape{2, 6, 2, 4, 4}})
        for (const ra::Layout layout : support::every_layout)
            for (const Index seq_len : {1, 3, 17, 90, 201})
                for (const int ranks : {1, 2, 5})
                    for (const Index max_queries : {1, 8, 16, 256}) {
                        INFO(support::name_of(layout), ", ", seq_len, " tokens, ", ranks,
                             " ranks, blocks of ", max_queries, ", groups of ", shape.group());
                        for (int rank = 0; rank < ranks; ++rank) {
                            const ra::Share share(ra::ChunkLayout(seq_len, 5, layout), rank, ranks);
                            ra::List<ra::TokenPositions> seats;
                            for (Index seat = 0; seat < share.num_seats(); ++seat)
                                seats.push_back(share.tokens(seat));
                            f(seats, shape, ra::detail::query_places(seats, shape, max_queries), max_queries);
                        }
                    }
}

}  // namespace

TEST_CASE("blocks of queries hold every query of every head and seat once, and no more than they may") {
    for_each_rank([](const auto& seats, const ra::HeadShape& shape, const auto& places, Index max_queries) {
        std::vector<std::vector<int>> taken;  // [seat][head and query]
        for (const ra::TokenPositions& tokens : seats)
            taken.emplace_back(std::size_t(shape.batch_heads() * tokens.count), 0);
        for (const auto& place : places) {
            CHECK(place.rows.count >= 1);
            CHECK(place.rows.count <= max_queries);
            const auto seat = std::size_t(place.seat);
            for (Index row = place.rows.first; row < place.rows.end(); ++row) {
                const Index token = row / shape.group(),
                            head = place.batch_head * shape.group() + row % shape.group();
                CHECK(token < seats[seat].count);
                ++taken[seat].at(std::size_t(head * seats[seat].count + token));
            }
        }
        for (const auto& of_seat : taken)
            CHECK(std::all_of(of_seat.begin(), of_seat.end(), [](int times) { return times == 1; }));
    });
}

TEST_CASE("blocks of queries are of neighbours, or of tokens a stride apart: none lies across a gap") {
    for_each_rank([](const auto& seats, const ra::HeadShape& shape, const auto& places, Index) {
        for (const auto& place : places) {
            const ra::TokenPositions& tokens = seats[std::size_t(place.seat)];
            const Index first = place.rows.first / shape.group(),
                        last = (place.rows.end() - 1) / shape.group();
            CHECK(tokens.position(last) - tokens.position(first) == tokens.stride * (last - first));
        }
    });
}

TEST_CASE("blocks of queries come head by head, and of a head the latest of its seat first") {
    for_each_rank([](const auto&, const ra::HeadShape&, const auto& places, Index) {
        for (std::size_t i = 1; i < places.size(); ++i) {
            const auto &before = places[i - 1], &place = places[i];
            CHECK(place.batch_head >= before.batch_head);
            if (place.batch_head != before.batch_head) continue;
            CHECK(place.seat <= before.seat);
            if (place.seat == before.seat) CHECK(place.rows.first < before.rows.first);
        }
    });
}

}  // namespace attention_forward
