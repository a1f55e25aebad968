// Which tokens of a stream sit at which seat, against a list of who has what.

#include <vector>

#include <doctest/doctest.h>

#include <ring_attention/sequence/stream_layout.hpp>

#include "support/layouts.hpp"

namespace ra = ring_attention;
using ra::Index;
using support::Positions;

namespace {

constexpr Index block = ra::StreamLayout::block;

/// The positions of each seat of a document of [first, end), of which `prompt` tokens sit in a layout.
std::vector<Positions> expected_seats(ra::Layout layout, Index num_seats, Index prompt, Index first,
                                      Index end) {
    std::vector<Positions> seats(static_cast<std::size_t>(num_seats));
    if (prompt > 0) seats = support::seat_positions(layout, prompt, num_seats);
    for (Index position = first + prompt; position < end; ++position)
        seats[std::size_t((position - first - prompt) / block % num_seats)].push_back(position);
    return seats;
}

Positions positions_of(const ra::List<ra::TokenPositions>& runs) {
    Positions all;
    for (const ra::TokenPositions& run : runs)
        for (const auto position : support::positions_of(run)) all.push_back(position);
    return all;
}

void check_seats(const ra::StreamLayout& layout, const std::vector<Positions>& expected, Index first,
                 Index end) {
    for (Index seat = 0; seat < layout.num_seats(); ++seat) {
        const Positions& own = expected[std::size_t(seat)];
        for (Index from = first; from <= end; from += 57)
            for (Index to = from; to <= end; to += 101) {
                Positions within;
                for (const auto position : own)
                    if (position >= from && position < to) within.push_back(position);
                CHECK(positions_of(layout.tokens(seat, {from, to - from})) == within);
                CHECK(layout.count(seat, {from, to - from}) == Index(within.size()));
            }
    }
}

}  // namespace

TEST_CASE("stream layout: tokens go to the seats in turn, in blocks") {
    for (const Index num_seats : {1, 2, 3, 5})
        for (const Index first : {0, 1, 1000}) {
            CAPTURE(num_seats);
            CAPTURE(first);
            const Index end = first + 2 * num_seats * block + block + 7;
            check_seats(ra::StreamLayout(num_seats, first),
                        expected_seats(ra::Layout::contiguous, num_seats, 0, first, end), first, end);
        }
}

TEST_CASE("stream layout: behind a sequence, of which every seat keeps its own") {
    for (const ra::Layout layout : support::every_layout)
        for (const Index num_seats : {1, 2, 3, 5})
            for (const Index prompt : {1, 2, 4, 9, 600}) {
                CAPTURE(num_seats);
                CAPTURE(prompt);
                const Index end = prompt + num_seats * block + block + 7;
                check_seats(ra::StreamLayout(ra::ChunkLayout(prompt, num_seats, layout)),
                            expected_seats(layout, num_seats, prompt, 0, end), 0, end);
            }
}

TEST_CASE("stream layout: one seat has all in one run") {
    const ra::StreamLayout layout(ra::ChunkLayout(600, 1, ra::Layout::zigzag));
    const auto runs = layout.tokens(0, {5, 5000});
    REQUIRE(runs.size() == 1);
    CHECK(runs[0].first == 5);
    CHECK(runs[0].count == 5000);
}

TEST_CASE("stream layout: no seat has more of some neighbours than it says, and one may have so many") {
    for (const Index num_seats : {1, 2, 3}) {
        const ra::StreamLayout layout(num_seats);
        for (Index count = 0; count < 3 * num_seats * block; count += 37) {
            Index most = 0;
            for (Index from = 0; from < num_seats * block; ++from)
                for (Index seat = 0; seat < num_seats; ++seat)
                    most = std::max(most, layout.count(seat, {from, count}));
            CHECK(most == layout.most_of(count));
        }
    }
}
