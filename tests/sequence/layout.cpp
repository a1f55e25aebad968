#include <doctest/doctest.h>

#include <ring_attention/sequence/layout.hpp>

#include "support/error_message.hpp"
#include "support/layouts.hpp"

namespace ra = ring_attention;
using ra::Index;
using support::Positions;

namespace {

/// Calls f(layout, positions at each seat) for all layouts of up to 40 tokens at up to 12 seats.
template <class F>
void for_each_layout(const F& f) {
    for (const ra::Layout layout : support::every_layout)
        for (Index seq_len = 1; seq_len <= 40; ++seq_len)
            for (Index num_seats = 1; num_seats <= 12; ++num_seats) {
                INFO(support::name_of(layout), ", ", seq_len, " tokens at ", num_seats, " seats");
                f(ra::ChunkLayout(seq_len, num_seats, layout),
                  support::seat_positions(layout, seq_len, num_seats));
            }
}

}  // namespace

TEST_CASE("layout: each seat has the tokens that the layout says, in rising order") {
    for_each_layout([](const ra::ChunkLayout& layout, const std::vector<Positions>& expected) {
        for (Index seat = 0; seat < layout.num_seats(); ++seat)
            CHECK(support::positions_of(layout.tokens(seat)) == expected[std::size_t(seat)]);
        for (Index seat = 0; seat < layout.num_seats(); ++seat)
            for (const Index position : expected[std::size_t(seat)]) CHECK(layout.seat_of(position) == seat);
    });
}

TEST_CASE("layout: the seats share the sequence, differ by one token at most, and the last are empty") {
    for_each_layout([](const ra::ChunkLayout& layout, const std::vector<Positions>&) {
        Positions all;
        Index fewest = layout.seq_len(), most = 0;
        for (Index seat = 0; seat < layout.num_seats(); ++seat) {
            const Positions own = support::positions_of(layout.tokens(seat));
            CHECK(std::is_sorted(own.begin(), own.end()));
            CHECK(own.empty() == (seat >= layout.seq_len()));
            fewest = std::min(fewest, Index(own.size()));
            most = std::max(most, Index(own.size()));
            all = support::joined(all, own);
        }
        CHECK(most - fewest <= 1);
        CHECK(all == support::cut(layout.seq_len(), 1)[0]);
    });
}

TEST_CASE("layout: how many tokens come at earlier seats, and where the last one is") {
    for_each_layout([](const ra::ChunkLayout& layout, const std::vector<Positions>& seats) {
        Index before = 0;
        for (Index seat = 0; seat < layout.num_seats(); ++seat) {
            const Positions& own = seats[std::size_t(seat)];
            CHECK(layout.tokens_before(seat) == before);
            before += Index(own.size());
            CHECK((layout.last_token_seat() == seat) == (!own.empty() && own.back() == layout.seq_len() - 1));
        }
        CHECK(layout.tokens_before(layout.num_seats()) == layout.seq_len());
    });
}

TEST_CASE("layout: where the tokens of a seat stand among those of a run of seats") {
    for_each_layout([](const ra::ChunkLayout& layout, const std::vector<Positions>& seats) {
        for (Index first = 0; first < layout.num_seats(); ++first) {
            Positions run;
            for (Index end = first + 1; end <= layout.num_seats(); ++end) {
                run = support::joined(run, seats[std::size_t(end - 1)]);
                for (Index seat = first; seat < end; ++seat)
                    CHECK(support::positions_of(layout.places(seat, {first, end - first})) ==
                          support::places_of(seats[std::size_t(seat)], run));
            }
        }
    });
}

TEST_CASE("layout: the examples of the docstring") {
    const auto seat_1_of_3 = [](ra::Layout layout) {
        return support::positions_of(ra::ChunkLayout(12, 3, layout).tokens(1));
    };
    CHECK(seat_1_of_3(ra::Layout::contiguous) == Positions{4, 5, 6, 7});
    CHECK(seat_1_of_3(ra::Layout::zigzag) == Positions{2, 3, 8, 9});
    CHECK(seat_1_of_3(ra::Layout::striped) == Positions{1, 4, 7, 10});
    CHECK(ra::ChunkLayout(12, 3) == ra::ChunkLayout(12, 3, ra::Layout::contiguous));
    CHECK(ra::ChunkLayout(12, 3) != ra::ChunkLayout(12, 3, ra::Layout::zigzag));
}

TEST_CASE("layout: what cannot be is refused") {
    CHECK_REFUSES(ra::ChunkLayout(0, 3), "seq_len", "0", "at least 1");
    CHECK_REFUSES(ra::ChunkLayout(-4, 3), "seq_len", "-4", "at least 1");
    CHECK_REFUSES(ra::ChunkLayout(3, 0), "num_chunks", "0", "at least 1");
}
