#include <map>
#include <vector>

#include <doctest/doctest.h>

#include <ring_attention/attention/hop_order.hpp>

#include "support/layouts.hpp"

namespace ra = ring_attention;

namespace {

struct Orders {
    std::map<ra::Index, std::vector<ra::Index>> keys_of_query, queries_of_key;
};

/// The order in which seats meet on P ranks over n seats, all ranks' steps laid side by side.
Orders orders(ra::Index seats, int ranks) {
    const ra::ChunkLayout layout(seats, seats);
    Orders met;
    const auto meet = [&](ra::Meeting meeting, int hop) {
        for (int rank = 0; rank < ranks; ++rank) {
            const ra::Share own(layout, rank, ranks), visitors = own.of_neighbour(hop);
            ra::for_each_pair(
                meeting, own.num_seats(), visitors.num_seats(), [&](ra::Index query, ra::Index key) {
                    const ra::Index i = own.first_seat() + query, j = visitors.first_seat() + key;
                    met.keys_of_query[i].push_back(j);
                    met.queries_of_key[j].push_back(i);
                });
        }
    };
    for (int hop = 0; hop < ranks; ++hop)
        meet(hop == 0 ? ra::Meeting::own_first : ra::Meeting::visiting, hop);
    meet(ra::Meeting::own_last, 0);
    return met;
}

}  // namespace

TEST_CASE("on any number of ranks, queries meet keys in ring order, and keys queries against it") {
    for (ra::Index seats = 1; seats <= 9; ++seats)
        for (int ranks = 1; ranks <= seats; ++ranks) {
            CAPTURE(seats);
            CAPTURE(ranks);
            const Orders met = orders(seats, ranks);
            for (ra::Index seat = 0; seat < seats; ++seat) {
                std::vector<ra::Index> rising, falling;
                for (ra::Index step = 0; step < seats; ++step) {
                    rising.push_back((seat + step) % seats);
                    falling.push_back((seat - step + seats) % seats);
                }
                CHECK(met.keys_of_query.at(seat) == rising);
                CHECK(met.queries_of_key.at(seat) == falling);
            }
        }
}

TEST_CASE("keys and values travel to the last rank that sees any of them, against the ring's numbers") {
    for (const ra::Layout kind : support::every_layout)
        for (ra::Index seq_len = 1; seq_len <= 30; ++seq_len)
            for (int seats = 1; seats <= 7; ++seats)
                for (int ranks = 1; ranks <= seats; ++ranks) {
                    const ra::ChunkLayout layout(seq_len, seats, kind);
                    for (int home = 0; home < ranks; ++home) {
                        INFO(support::name_of(kind), ", ", seq_len, " tokens at ", seats, " seats, rank ",
                             home, " of ", ranks);
                        const ra::Share keys(layout, home, ranks);
                        int causal = 0, full = 0;  // hops: rank home - hop is the one that they reach
                        for (int hop = 0; hop < ranks; ++hop) {
                            const ra::Share queries(layout, (home - hop + ranks) % ranks, ranks);
                            const bool both = keys.num_tokens() > 0 && queries.num_tokens() > 0;
                            const bool sees = both && queries.positions().back() >= keys.positions().front();
                            CHECK(ra::any_visible(queries, keys, {true}) == sees);
                            CHECK(ra::any_visible(queries, keys, {false}) == both);
                            if (sees) causal = hop;
                            if (both) full = hop;
                        }
                        CHECK(ra::hops_to_travel(keys, {true}) == causal);
                        CHECK(ra::hops_to_travel(keys, {false}) == full);
                    }
                }
}
