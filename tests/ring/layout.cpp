#include <doctest/doctest.h>

#include <ring_attention/ring/share.hpp>

#include "support/error_message.hpp"

namespace ra = ring_attention;

TEST_CASE(
    "layout: chunks are neighbours, cover the sequence and differ by one token at most, the first are "
    "longer") {
    for (ra::Index seq_len = 1; seq_len <= 20; ++seq_len)
        for (ra::Index num_seats = 1; num_seats <= 25; ++num_seats) {
            const ra::ChunkLayout layout(seq_len, num_seats);
            ra::Index end = 0;
            for (ra::Index seat = 0; seat < num_seats; ++seat) {
                const auto tokens = layout.tokens(seat);
                CHECK(tokens.first == end);
                CHECK(tokens.count == seq_len / num_seats + (seat < seq_len % num_seats ? 1 : 0));
                end = tokens.first + tokens.count;
            }
            CHECK(end == seq_len);
        }
}

TEST_CASE("share: the ranks' tokens are neighbours and cover the sequence, whatever their number") {
    for (const ra::Index seq_len : {1, 2, 5, 12, 13})
        for (int num_seats = 1; num_seats <= 7; ++num_seats)
            for (int ranks = 1; ranks <= num_seats; ++ranks) {
                const ra::ChunkLayout layout(seq_len, num_seats);
                ra::Index end = 0;
                for (int rank = 0; rank < ranks; ++rank) {
                    const ra::Share share(layout, rank, ranks);
                    if (share.num_tokens() > 0) CHECK(share.positions().front() == end);
                    ra::Index tokens = 0;
                    for (ra::Index seat = 0; seat < share.num_seats(); ++seat)
                        tokens += share.tokens(seat).count;
                    CHECK(tokens == share.num_tokens());
                    end += share.num_tokens();
                }
                CHECK(end == seq_len);
            }
}

TEST_CASE("layout and share refuse what cannot be") {
    CHECK_REFUSES(ra::ChunkLayout(0, 3), "seq_len", "0", "at least 1");
    CHECK_REFUSES(ra::ChunkLayout(-4, 3), "seq_len", "-4", "at least 1");
    CHECK_REFUSES(ra::ChunkLayout(3, 0), "num_chunks", "0", "at least 1");
    CHECK_REFUSES(ra::Share(ra::ChunkLayout(8, 3), 0, 4), "4 ranks", "3 seats");
    CHECK_REFUSES(ra::Share(ra::ChunkLayout(8, 3), 0, 0), "0 ranks");
}
