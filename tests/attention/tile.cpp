#include <algorithm>
#include <cmath>
#include <vector>

#include <doctest/doctest.h>

#include <ring_attention/attention/tile.hpp>

#include "support/head_case.hpp"

namespace ra = ring_attention;
using ra::Index;
using support::Rows;

namespace {

template <class T>
constexpr Index lanes = ra::detail::AttentionTile<T>::lanes;

/// Fails where `visible` is not what one finds by asking for every query and key.
template <class T>
void check_visible(const ra::Mask& mask, const ra::TokenPositions& queries, const ra::TokenPositions& keys,
                   Index first_key, Index num_keys) {
    const ra::detail::VisibleKeys<T> visible(mask, queries, keys, first_key, num_keys);
    const auto sees = [&](Index i, Index j) {
        return !mask.causal || keys.position(first_key + j) <= queries.position(i);
    };
    std::vector<Index> seen(std::size_t(queries.count), 0);
    for (Index i = 0; i < queries.count; ++i)
        for (Index j = 0; j < num_keys; ++j) seen[std::size_t(i)] += sees(i, j);
    REQUIRE(visible.any == *std::max_element(seen.begin(), seen.end()));
    REQUIRE(visible.all == *std::min_element(seen.begin(), seen.end()));

    constexpr Index strip = ra::detail::ProductTile<T>::rows;
    REQUIRE(visible.first_masked() % strip == 0);
    REQUIRE(visible.first_masked() <= visible.all);
    REQUIRE(visible.first_masked() + strip > visible.all);
    REQUIRE(visible.end_of_strips() % strip == 0);
    REQUIRE(visible.end_of_strips() >= visible.any);
    REQUIRE(visible.end_of_strips() < visible.any + strip);

    if (visible.all == visible.any) return;
    for (Index lane = 0; lane < lanes<T>; ++lane)
        REQUIRE(visible.count[std::size_t(lane)] ==
                T(lane < queries.count ? seen[std::size_t(lane)] : visible.any));
}

}  // namespace

TEST_CASE_TEMPLATE("visible keys: of every tile, wherever the mask cuts it", T, float, double) {
    using Tile = ra::detail::AttentionTile<T>;
    const std::vector<Index> query_counts{1, 2, lanes<T> - 1, lanes<T>};
    const ra::TokenPositions keys{100, 3 * Tile::keys / 2};
    for (const bool causal : {true, false})
        for (const Index num_queries : query_counts)
            for (const Index first_key : {Index(0), Tile::keys}) {
                const Index num_keys = std::min(Tile::keys, keys.count - first_key);
                const Index before = keys.first + first_key - lanes<T> - 2;
                for (Index first = before; first < keys.first + first_key + num_keys + 2; ++first)
                    check_visible<T>({causal}, {first, num_queries}, keys, first_key, num_keys);
            }
}

TEST_CASE_TEMPLATE("visible keys: of tokens apart, and of two runs", T, float, double) {
    using Tile = ra::detail::AttentionTile<T>;
    const Index half = 3 * Tile::keys / 4;
    for (const ra::TokenPositions& keys :
         {ra::TokenPositions{4, 2 * half, 3}, ra::TokenPositions{4, 2 * half, 1, half, 30}})
        for (const Index num_queries : {Index(1), lanes<T> - 1, lanes<T>})
            for (const Index first_key : {Index(0), Tile::keys})
                for (Index first = 0; first < keys.position(keys.count - 1) + 2; ++first) {
                    const Index num_keys = std::min(Tile::keys, keys.count - first_key);
                    const ra::TokenPositions striped{first, num_queries, 3},
                        two_runs{first, num_queries, 1, num_queries / 2, 30};
                    check_visible<T>({true}, striped, keys, first_key, num_keys);
                    check_visible<T>({true}, two_runs, keys, first_key, num_keys);
                }
}

TEST_CASE_TEMPLATE("tiles of keys are whole strips, which the depth of a product holds", T, float, double) {
    using Tile = ra::detail::AttentionTile<T>;
    static_assert(Tile::keys % ra::detail::ProductTile<T>::rows == 0 && Tile::keys > 0);
    static_assert(Tile::keys <= ra::detail::ProductTile<T>::depth);
    static_assert(Tile::lanes % ra::Simd<T>::width == 0);
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
