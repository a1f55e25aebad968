#include <algorithm>
#include <map>
#include <vector>

#include <doctest/doctest.h>

#include <ring_attention/attention/hop_order.hpp>
#include <ring_attention/sequence/share.hpp>

namespace attention_hop_order {

namespace ra = ring_attention;

namespace {

struct Orders {
    std::map<ra::Index, std::vector<ra::Index>> keys_of_query, queries_of_key;
};

/// The order in which seats meet on P ranks over n seats, all ranks' steps laid side by side.
Orders orders(ra::Index seats, int ranks) {
    const ra::ChunkLayout layout(seats, seats);
    Orders met;
    const auto meet = [&](ra::detail::HopPhase phase, int hop) {
        for (int rank = 0; rank < ranks; ++rank) {
            const ra::Share own(layout, rank, ranks), visitors = own.of_neighbour(hop);
            ra::detail::for_each_pair(
                phase, own.num_seats(), visitors.num_seats(), [&](ra::Index query, ra::Index key) {
                    const ra::Index i = own.first_seat() + query, j = visitors.first_seat() + key;
                    met.keys_of_query[i].push_back(j);
                    met.queries_of_key[j].push_back(i);
                });
        }
    };
    for (int hop = 0; hop < ranks; ++hop)
        meet(hop == 0 ? ra::detail::HopPhase::own_first : ra::detail::HopPhase::visiting, hop);
    meet(ra::detail::HopPhase::own_last, 0);
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

TEST_CASE("with fewer key seats than query seats all pairs meet, rank by rank and once each") {
    for (ra::Index query_seats = 1; query_seats <= 5; ++query_seats)
        for (ra::Index key_seats = 0; key_seats <= 5; ++key_seats) {
            CAPTURE(query_seats);
            CAPTURE(key_seats);
            std::map<ra::Index, std::vector<ra::Index>> keys_of_query;
            for (const auto phase : {ra::detail::HopPhase::own_first, ra::detail::HopPhase::own_last})
                ra::detail::for_each_pair(phase, query_seats, key_seats, [&](ra::Index query, ra::Index key) {
                    keys_of_query[query].push_back(key);
                });
            for (ra::Index query = 0; query < query_seats; ++query) {
                std::vector<ra::Index> expected;
                for (ra::Index key = query; key < key_seats; ++key) expected.push_back(key);
                for (ra::Index key = 0; key < std::min(query, key_seats); ++key) expected.push_back(key);
                CHECK(keys_of_query[query] == expected);
            }
        }
}

}  // namespace attention_hop_order
