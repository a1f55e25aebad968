#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include <ring_attention/attention/plan.hpp>

#include "layouts.hpp"
#include "masks.hpp"
#include "sanitized.hpp"

// Which rank sees which, token by token: what the library judges by intervals of tiles.

namespace support {

namespace ra = ring_attention;
using ra::Index;

/// An attention on a ring, all ranks of it.
struct TravelCase {
    ra::Layout layout;
    int ranks;
    Index seats;
    Index query_len, key_len, query_offset;
    ra::HeadShape heads;
    ra::Mask mask;
    std::string name;

    ra::AttentionPlan plan(int rank) const {
        return {ra::Share(ra::ChunkLayout(query_len, seats, layout), rank, ranks),
                ra::Share(ra::ChunkLayout(key_len, seats, layout), rank, ranks),
                heads,
                mask,
                {},
                query_offset};
    }

    bool sees(Index batch, Index query, Index key) const { return support::sees(mask, batch, query, key); }
};

/// For each rank and each home, whether some query of the rank sees a key of the home; and the same for the
/// rank's own keys at seats before the query's.
struct WhoSeesWhom {
    std::vector<std::vector<bool>> rank_sees_home;
    std::vector<bool> rank_sees_own_last;
    std::vector<Index> key_tokens;  ///< of each rank

    explicit WhoSeesWhom(const TravelCase& c)
        : rank_sees_home(std::size_t(c.ranks), std::vector<bool>(std::size_t(c.ranks), false)),
          rank_sees_own_last(std::size_t(c.ranks), false),
          key_tokens(std::size_t(c.ranks), 0) {
        const auto queries = seat_positions(c.layout, c.query_len, c.seats),
                   keys = seat_positions(c.layout, c.key_len, c.seats), seats_of_rank = cut(c.seats, c.ranks);
        const auto seat_sees = [&](Index query_seat, Index key_seat) {
            for (Index batch = 0; batch < c.heads.batch; ++batch)
                for (const Index query : queries[std::size_t(query_seat)])
                    for (const Index key : keys[std::size_t(key_seat)])
                        if (c.sees(batch, query + c.query_offset, key)) return true;
            return false;
        };
        for (std::size_t home = 0; home < key_tokens.size(); ++home)
            for (const Index key_seat : seats_of_rank[home]) {
                key_tokens[home] += Index(keys[std::size_t(key_seat)].size());
                for (std::size_t rank = 0; rank < key_tokens.size(); ++rank)
                    for (const Index query_seat : seats_of_rank[rank])
                        if (seat_sees(query_seat, key_seat)) {
                            rank_sees_home[rank][home] = true;
                            if (rank == home && query_seat > key_seat) rank_sees_own_last[rank] = true;
                        }
            }
    }

    bool sees(int rank, int home) const { return rank_sees_home[std::size_t(rank)][std::size_t(home)]; }
};

/// Masks of all kinds for keys of this length and this many batch entries.
inline std::vector<std::pair<std::string, ra::Mask>> travel_masks(Index key_len, Index batch) {
    const auto mask = [&](bool causal, Index window = 0, Index prefix = 0,
                          ra::List<Index> document_starts = {}) {
        return ra::Mask{key_len, causal, window, prefix, std::move(document_starts), {}};
    };
    std::vector<std::pair<std::string, ra::Mask>> masks{
        {"all keys", mask(false)},
        {"causal", mask(true)},
        {"window 1", mask(true, 1)},
        {"window 3", mask(true, 3)},
        {"long window", mask(true, key_len / 2 + 2)},
        {"window 2 on both sides", mask(false, 2)},
        {"prefix", mask(true, 0, key_len / 3 + 1)},
    };
    ra::List<Index> documents{0};
    for (const Index start : {key_len / 4, key_len / 3, key_len - 1})
        if (start > documents.back()) documents.push_back(start);
    masks.emplace_back("documents", mask(false, 0, 0, documents));
    masks.emplace_back("causal documents, window 4", mask(true, 4, 0, documents));
    ra::Mask short_entries = mask(false);
    for (Index entry = 0; entry < batch; ++entry)
        short_entries.lengths.push_back(entry == 0 ? key_len / 3 : 1);
    masks.emplace_back("short entries", short_entries);
    for (Index& length : short_entries.lengths) length = 0;
    masks.emplace_back("empty entries", short_entries);
    return masks;
}

/// Calls check(case) for all layouts, masks, rings of 1 to 8 ranks, lengths that do not divide, keys that are
/// fewer and more than queries, and shapes that travel in 1 to 4 parts.
template <class F>
void for_each_travel_case(const F& check) {
    struct Lengths {
        Index query, key, offset;
    };
    constexpr ra::HeadShape shapes[] = {{2, 4, 2, 3, 2}, {1, 1, 1, 1, 1}, {1, 6, 3, 2, 5}, {2, 3, 3, 1, 2}};
    std::size_t turn = 0, number = 0;
    for (const ra::Layout layout : every_layout)
        for (const int ranks : {1, 2, 3, 4, 5, 7, 8})
            for (const Index seats : {Index(ranks), Index(2 * ranks + 1)})
                for (const Lengths& length : {Lengths{5, 5, 0}, Lengths{29, 29, 0}, Lengths{9, 26, 17},
                                              Lengths{31, 6, 0}, Lengths{12, 30, -3}}) {
                    const ra::HeadShape& heads = shapes[turn++ % 4];
                    for (const auto& named : travel_masks(length.key, heads.batch)) {
                        if (!takes(number++)) continue;
                        INFO(support::name_of(layout), ", ", length.query, " queries from ", length.offset,
                             " on, ", length.key, " keys at ", seats, " seats, ", ranks, " ranks, ",
                             heads.batch, " x ", heads.key_value_heads, " heads, ", named.first);
                        check(TravelCase{layout, ranks, seats, length.query, length.key, length.offset, heads,
                                         named.second, named.first});
                    }
                }
}

}  // namespace support
