#include <algorithm>
#include <cmath>
#include <vector>

#include <doctest/doctest.h>

#include <ring_attention/attention/tile.hpp>

#include "support/head_case.hpp"
#include "support/masks.hpp"
#include "support/sanitized.hpp"

namespace attention_tile {

namespace ra = ring_attention;
using ra::Index;
using support::lanes;
using support::Rows;

namespace {

bool lies_in(Index key, const ra::IndexRange& range) {
    return key >= range.first && key < range.end();
}

/// Fails where `visible` is not what one finds by asking for every query and key. Each query has `group`
/// rows.
template <class T>
void check_visible(const ra::Mask& mask, const ra::TokenPositions& queries, Index group,
                   const ra::TokenPositions& keys, Index first_key, Index num_keys) {
    std::vector<ra::IndexRange> indices(std::size_t(queries.count * group));
    ra::detail::find_seen(mask, 0, queries, group, 0, keys, indices);
    std::vector<Index> positions;
    for (Index j = 0; j < num_keys; ++j) positions.push_back(keys.position(first_key + j));
    std::vector<std::vector<char>> seen;                   // [query][key], of all its rows
    std::vector<Index> seen_by(std::size_t(num_keys), 0);  // how many queries see a key
    for (Index i = 0; i < queries.count; ++i) {
        const ra::IndexRange range = mask.visible(0, queries.position(i));
        auto& of_query = seen.emplace_back();
        for (const Index position : positions) of_query.push_back(lies_in(position, range));
        for (std::size_t j = 0; j < seen_by.size(); ++j) seen_by[j] += of_query[j];
    }
    const Index rows = queries.count * group;
    const ra::detail::VisibleKeys<T> visible(indices, first_key, num_keys);
    const auto sees = [&](Index row, Index key) {
        return seen[std::size_t(row / group)][std::size_t(key)] != 0;
    };
    const auto some_see = [&](Index key) { return seen_by[std::size_t(key)] > 0; };
    const auto all_see = [&](Index key) { return seen_by[std::size_t(key)] == queries.count; };

    Index least = num_keys, past_the_most = 0;
    bool in_any = true, in_all = true;
    for (Index key = 0; key < num_keys; ++key) {
        const bool some = some_see(key);
        if (some) least = std::min(least, key), past_the_most = key + 1;
        in_any = in_any && (!some || lies_in(key, visible.any));
        in_all = in_all && lies_in(key, visible.all) == all_see(key);
    }
    REQUIRE(in_any);
    REQUIRE(in_all);
    const bool neighbours = queries.stride == 1 && queries.gap == 0;
    REQUIRE(visible.any.first >= 0);
    REQUIRE(visible.any.count >= 0);
    REQUIRE(visible.any.end() <= num_keys);
    if (neighbours && visible.any.count > 0) {
        REQUIRE(visible.any.first == least);
        REQUIRE(visible.any.end() == past_the_most);
    }
    if (visible.any.count == 0) return;  // nothing else is asked of it then

    constexpr Index strip = ra::detail::ProductTile<T>::rows;
    const ra::IndexRange scores = visible.scores_of(num_keys);
    if (visible.all == visible.any) {
        REQUIRE(scores == visible.any);
        for (const ra::IndexRange& masked : visible.masked()) REQUIRE(masked.count == 0);
    } else {
        REQUIRE(scores.first % strip == 0);
        REQUIRE((scores.end() % strip == 0 || scores.end() == num_keys));
        REQUIRE(scores.first > visible.any.first - strip);
        REQUIRE(scores.first <= visible.any.first);
        REQUIRE(scores.end() < visible.any.end() + strip);
        REQUIRE(scores.end() >= visible.any.end());
    }

    // The scores that are masked are those of whole strips, as far as they are wanted, of which some query
    // does not see a key; each once.
    const auto [before, after] = visible.masked();
    for (const ra::IndexRange& run : {before, after})
        if (run.count > 0) {
            REQUIRE(run.first % strip == 0);
            REQUIRE(run.first >= scores.first);
            REQUIRE(run.end() <= scores.end());
        }
    if (before.count > 0 && after.count > 0) REQUIRE(before.end() <= after.first);
    bool masked_right = true;
    for (Index key = scores.first; key < visible.any.end(); ++key) {
        const bool is_masked = lies_in(key, before) || lies_in(key, after);
        masked_right = masked_right && (is_masked || key < visible.any.first || all_see(key));
        const Index of_strip = visible.all == visible.any ? key : key / strip * strip;
        if (visible.all != visible.any && of_strip + strip > visible.any.end()) continue;  // may be either
        bool whole = true;
        for (Index other = of_strip; other < std::min(of_strip + strip, visible.any.end()); ++other)
            whole = whole && all_see(other);
        masked_right = masked_right && is_masked == !whole;
    }
    REQUIRE(masked_right);

    bool right = true;
    for (Index row = 0; row < rows; ++row)
        for (Index key = visible.any.first; key < visible.any.end(); ++key)
            right = right && visible.sees(row, key) == sees(row, key);
    REQUIRE(right);
    if (visible.all == visible.any) return;
    for (Index lane = 0; lane < lanes<T>; ++lane) {
        const T begin = visible.begin[std::size_t(lane)], end = visible.end[std::size_t(lane)];
        for (Index key = 0; key < num_keys; ++key)
            right = right && (T(key) >= begin && T(key) < end) ==
                                 (lane < rows ? sees(lane, key) : lies_in(key, visible.any));
    }
    REQUIRE(right);
}

/// For keys up to position `end`.
std::vector<support::NamedMask> masks_of_rows(Index end) {
    const auto mask = [&](bool causal, Index window = 0, Index prefix = 0, ra::List<Index> documents = {},
                          ra::List<Index> lengths = {}) {
        return ra::Mask{end, causal, window, prefix, std::move(documents), std::move(lengths)};
    };
    return {{"all keys", mask(false)},
            {"causal", mask(true)},
            {"window 1", mask(true, 1)},
            {"window 6", mask(true, 6)},
            {"window 50", mask(true, 50)},
            {"window 4 on both sides", mask(false, 4)},
            {"window 40 on both sides", mask(false, 40)},
            {"prefix", mask(true, 0, end - 40)},
            {"documents", mask(false, 0, 0, {0, end / 2, end / 2 + 5, end - 17})},
            {"causal documents", mask(true, 0, 0, {0, end / 2, end / 2 + 5, end - 17})},
            {"length", mask(false, 0, 0, {}, {end - 11})}};
}

}  // namespace

TEST_CASE_TEMPLATE("visible keys: of every tile, wherever the mask cuts it", T, float, double) {
    using Tile = ra::detail::AttentionTile<T>;
    const ra::TokenPositions keys{100, 3 * Tile::keys / 2};
    for (const auto& named : masks_of_rows(100 + keys.count))
        for (const Index num_queries : {Index(1), Index(2), lanes<T> - 1, lanes<T>})
            for (const Index first_key : {Index(0), Tile::keys}) {
                const Index num_keys = std::min(Tile::keys, keys.count - first_key);
                const Index before = keys.first + first_key - lanes<T> - 2;
                const Index step = (1 + num_queries / 3) * (support::sanitized ? 7 : 1);
                for (Index first = before; first < keys.first + first_key + num_keys + 60; first += step) {
                    INFO(named.first, ", ", num_queries, " queries from ", first, " on, keys from ",
                         first_key, " on");
                    check_visible<T>(named.second, {first, num_queries}, 1, keys, first_key, num_keys);
                }
            }
}

TEST_CASE_TEMPLATE("visible keys: of tokens apart, of two runs, and of rows of a group", T, float, double) {
    using Tile = ra::detail::AttentionTile<T>;
    const Index half = 3 * Tile::keys / 4;
    for (const ra::TokenPositions& keys :
         {ra::TokenPositions{4, 2 * half, 3}, ra::TokenPositions{4, 2 * half, 1, half, 30}})
        for (const auto& named : masks_of_rows(keys.position(keys.count - 1) + 1))
            for (const Index num_queries : {Index(1), lanes<T> - 1, lanes<T>})
                for (const Index first_key : {Index(0), Tile::keys})
                    for (Index first = 0; first < keys.position(keys.count - 1) + 2;
                         first += support::sanitized ? 41 : 3) {
                        INFO(named.first, ", ", num_queries, " queries from ", first, " on, keys from ",
                             first_key, " on");
                        const Index num_keys = std::min(Tile::keys, keys.count - first_key);
                        const ra::TokenPositions striped{first, num_queries, 3},
                            two_runs{first, num_queries, 1, num_queries / 2, 30},
                            half_as_many{first, (num_queries + 1) / 2};
                        check_visible<T>(named.second, striped, 1, keys, first_key, num_keys);
                        check_visible<T>(named.second, two_runs, 1, keys, first_key, num_keys);
                        check_visible<T>(named.second, half_as_many, num_queries == 1 ? 1 : 2, keys,
                                         first_key, num_keys);
                    }
}

TEST_CASE_TEMPLATE("tiles of keys are whole strips, which the depth of a product holds", T, float, double) {
    using Tile = ra::detail::AttentionTile<T>;
    static_assert(Tile::keys % ra::detail::ProductTile<T>::rows == 0 && Tile::keys > 0);
    static_assert(Tile::keys <= ra::detail::ProductTile<T>::depth);
    static_assert(Tile::lanes % ra::detail::Simd<T>::width == 0);
}

TEST_CASE_TEMPLATE("lanes: a row becomes a lane, and a row again", T, float, double) {
    for (Index head_dim = 1; head_dim <= 70; ++head_dim)
        for (const Index count : {Index(1), Index(3), lanes<T> / 2, lanes<T> / 2 + 1, lanes<T> - 1, lanes<T>})
            for (const Index gap : {0, 5}) {
                const auto rows = support::normal_rows<T>(count, head_dim, gap, 1);
                std::vector<T> packed(std::size_t(head_dim * lanes<T>), std::numeric_limits<T>::quiet_NaN());
                ra::detail::pack_lanes<T>(rows.view(), packed.data());
                for (Index c = 0; c < head_dim; ++c)
                    for (Index lane = 0; lane < lanes<T>; ++lane)
                        REQUIRE(packed[std::size_t(c * lanes<T> + lane)] ==
                                (lane < count ? rows(lane, c) : T(0)));
                Rows<T> back(count, head_dim, 7);
                ra::detail::unpack_lanes<T>(packed.data(), back.view());
                REQUIRE(support::same_rows(back, rows));
                REQUIRE(back.kept_the_gaps());
            }
}

TEST_CASE_TEMPLATE("lanes: rows of a group become lanes in the order of the tokens, and rows again", T, float,
                   double) {
    for (const Index head_dim : {1, 5, 33})
        for (const Index group : {1, 2, 3, 8})
            for (const bool head_by_head : {true, false})
                for (const Index first : {0, 1, 5})
                    for (const Index count : {Index(1), Index(4), lanes<T>}) {
                        support::HeadShape shape;
                        shape.queries = {0, 2 * lanes<T>};
                        shape.group = group;
                        shape.head_by_head = head_by_head;
                        const auto rows = support::normal_rows<T>(shape.query_rows(), head_dim, 3, 1);
                        const auto place = [&](Index row) {
                            const Index token = row / group, head = row % group;
                            return head_by_head ? head * shape.queries.count + token : row;
                        };
                        std::vector<T> packed(std::size_t(head_dim * lanes<T>)), scratch(packed.size());
                        ra::detail::pack_lanes<T>(
                            shape.heads(rows).group_rows(0, group).middle_rows(first, count), packed.data(),
                            scratch.data());
                        for (Index c = 0; c < head_dim; ++c)
                            for (Index lane = 0; lane < lanes<T>; ++lane)
                                REQUIRE(packed[std::size_t(c * lanes<T> + lane)] ==
                                        (lane < count ? rows(place(first + lane), c) : T(0)));
                        Rows<T> back(shape.query_rows(), head_dim, 7);
                        ra::detail::unpack_lanes<T>(
                            packed.data(), shape.heads(back).group_rows(0, group).middle_rows(first, count),
                            scratch.data());
                        REQUIRE(back.kept_the_gaps());
                        for (Index row = 0; row < shape.query_rows(); ++row) {
                            const bool written = row >= first && row < first + count;
                            if (written) REQUIRE(support::same_row(back, rows, place(row)));
                            if (!written) REQUIRE(std::isnan(back(place(row), 0)));
                        }
                    }
}

}  // namespace attention_tile
