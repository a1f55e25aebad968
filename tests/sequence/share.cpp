#include <string>

#include <doctest/doctest.h>

#include <ring_attention/ring/local_ring.hpp>
#include <ring_attention/sequence/share.hpp>

#include "support/error_message.hpp"
#include "support/layouts.hpp"

namespace ra = ring_attention;
using ra::Index;
using support::Positions;

namespace {

/// What each rank has, found by dealing.
struct Expected {
    Index first_seat = 0;
    std::vector<Positions> seats;  // all of the rank's
    Positions all;
};

std::vector<Expected> expected_shares(const ra::ChunkLayout& layout, int ranks) {
    const auto seats = support::seat_positions(layout.layout(), layout.seq_len(), layout.num_seats());
    std::vector<Expected> expected;
    for (const Positions& of_rank : support::cut(layout.num_seats(), ranks)) {
        Expected& share = expected.emplace_back();
        share.first_seat = of_rank.front();
        for (const Index seat : of_rank) {
            share.seats.push_back(seats[std::size_t(seat)]);
            share.all = support::joined(share.all, share.seats.back());
        }
    }
    return expected;
}

/// Calls f(share, expected) for every rank of all rings on all layouts of up to 40 tokens at up to 12 seats.
template <class F>
void for_each_share(const F& f) {
    for (const ra::Layout kind : support::every_layout)
        for (Index seq_len = 1; seq_len <= 40; ++seq_len)
            for (int num_seats = 1; num_seats <= 12; ++num_seats)
                for (int ranks = 1; ranks <= num_seats; ++ranks) {
                    INFO(support::name_of(kind), ", ", seq_len, " tokens at ", num_seats, " seats, ", ranks,
                         " ranks");
                    const ra::ChunkLayout layout(seq_len, num_seats, kind);
                    const auto expected = expected_shares(layout, ranks);
                    for (int rank = 0; rank < ranks; ++rank) {
                        CAPTURE(rank);
                        f(ra::Share(layout, rank, ranks), expected[std::size_t(rank)]);
                    }
                }
}

}  // namespace

TEST_CASE("share: the tokens of a run of seats, in the order of the sequence") {
    for_each_share([](const ra::Share& share, const Expected& expected) {
        CHECK(share.first_seat() == expected.first_seat);
        CHECK(share.num_tokens() == Index(expected.all.size()));
        const auto positions = share.positions();
        CHECK(Positions(positions.begin(), positions.end()) == expected.all);
    });
}

TEST_CASE("share: the seats that have tokens are the first, with tokens and places of their own") {
    for_each_share([](const ra::Share& share, const Expected& expected) {
        Index before = 0, with_tokens = 0;
        for (std::size_t seat = 0; seat < expected.seats.size(); ++seat) {
            const Positions& own = expected.seats[seat];
            if (!own.empty()) ++with_tokens;
            CHECK(support::positions_of(share.tokens(Index(seat))) == own);
            CHECK(support::positions_of(share.places(Index(seat))) == support::places_of(own, expected.all));
            CHECK(share.tokens_before(Index(seat)) == before);
            before += Index(own.size());
        }
        CHECK(share.num_seats() == with_tokens);
    });
}

TEST_CASE("share: the one seat that has the last token of the sequence says so") {
    for_each_share([](const ra::Share& share, const Expected& expected) {
        for (std::size_t seat = 0; seat < expected.seats.size(); ++seat) {
            const Positions& own = expected.seats[seat];
            CHECK(share.has_last_token(Index(seat)) ==
                  (!own.empty() && own.back() == share.layout().seq_len() - 1));
        }
    });
}

TEST_CASE("share: neighbours are further on in the ring") {
    const ra::ChunkLayout layout(20, 7, ra::Layout::zigzag);
    for (int rank = 0; rank < 3; ++rank)
        for (int hops = 0; hops <= 3; ++hops)
            CHECK(ra::Share(layout, rank, 3).of_neighbour(hops) == ra::Share(layout, (rank + hops) % 3, 3));
}

TEST_CASE("share: seats as text") {
    const ra::ChunkLayout layout(20, 5);
    CHECK(ra::Share(layout, 0, 2).seats_text() == "0-2");
    CHECK(ra::Share(layout, 1, 2).seats_text() == "3-4");
    CHECK(ra::Share(layout, 4, 5).seats_text() == "4");
}

TEST_CASE("share: that of a ring's rank") {
    const ra::LocalRing ring;
    for (const ra::Layout layout : support::every_layout)
        CHECK(ra::share(ring, 9, 4, layout) == ra::Share(ra::ChunkLayout(9, 4, layout), 0, 1));
    CHECK(ra::share(ring, 9, 4) == ra::Share(ra::ChunkLayout(9, 4), 0, 1));
}

TEST_CASE("share: what cannot be is refused") {
    CHECK_REFUSES(ra::Share(ra::ChunkLayout(8, 3), 0, 4), "4 ranks", "3 seats");
    CHECK_REFUSES(ra::Share(ra::ChunkLayout(8, 3), 0, 0), "0 ranks");
    CHECK_REFUSES(ra::share(ra::LocalRing(), 0, 4), "seq_len", "0");
}
