#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include <doctest/doctest.h>

#include <ring_attention/attention/softmax_tile.hpp>
#include <ring_attention/core/floating_point_modes.hpp>

#include "support/ulps.hpp"

namespace attention_softmax_tile {

namespace ra = ring_attention;
namespace detail = ra::detail;
using ra::Index;
using support::infinity;
using support::not_a_number;

namespace {

constexpr Index keys = 40;

/// A tile of queries after some tiles of keys, and what the last of these gave.
template <class T>
struct TileOfQueries {
    static constexpr Index lanes = detail::AttentionTile<T>::lanes;
    using Lanes = std::vector<T>;

    T scale;
    Lanes maximum = Lanes(std::size_t(lanes), -infinity<T>), sum = Lanes(std::size_t(lanes), T(0)),
          decay = Lanes(std::size_t(lanes), T(-1)), weights{};

    detail::Softmax<T> softmax() { return {scale, {maximum.data(), sum.data()}, decay.data(), false}; }

    /// scores (keys, lanes)
    bool absorb(const std::vector<T>& scores) {
        Lanes largest(std::size_t(lanes), -infinity<T>);
        for (std::size_t i = 0; i < scores.size(); ++i) {
            T& of_lane = largest[i % std::size_t(lanes)];
            if (scores[i] > of_lane) of_lane = scores[i];
        }
        weights = scores;
        return detail::scores_to_weights<2>(softmax(), largest.data(), weights.data(), {0, keys},
                                            detail::StoreWeights<T>{weights.data()});
    }

    bool absorb_if_settled(const std::vector<T>& scores) {
        weights = scores;
        return detail::scores_to_weights_if_settled<2>(softmax(), weights.data(), {0, keys},
                                                       detail::StoreWeights<T>{weights.data()});
    }

    /// Base 2, of all scores so far.
    double log_sum(Index lane) const {
        const auto i = std::size_t(lane);
        return double(maximum[i]) * double(scale) + std::log2(double(sum[i]));
    }

    bool operator==(const TileOfQueries&) const = default;
};

template <class T>
std::vector<T> same_scores(T score) {
    return std::vector<T>(std::size_t(keys * TileOfQueries<T>::lanes), score);
}

/// Scores between 0 and `width`, and `shift` more.
template <class T>
std::vector<T> random_scores(std::mt19937& generator, double width, double shift) {
    std::vector<T> scores = same_scores(T(0));
    std::uniform_real_distribution<double> anywhere(shift, shift + width);
    for (T& score : scores) score = T(anywhere(generator));
    return scores;
}

}  // namespace

TEST_CASE_TEMPLATE("softmax of a tile: whether it is tried without a maximum or not, the same bits", T, float,
                   double) {
    const detail::FlushToZero flush_to_zero;
    std::mt19937 generator(3);
    std::uniform_real_distribution<double> anywhere(-60, 60);
    int settled_tiles = 0, moved = 0;
    for (int round = 0; round < 100; ++round) {
        TileOfQueries<T> tried{T(0.3)}, not_tried{T(0.3)};
        bool settled = false;
        for (int tile = 0; tile < 20; ++tile) {
            const auto scores =
                random_scores<T>(generator, round % 10 + 1, round % 3 == 0 ? anywhere(generator) : 0);
            not_tried.absorb(scores);
            if (settled && tried.absorb_if_settled(scores))
                ++settled_tiles;
            else
                settled = tried.absorb(scores), moved += !settled;
            REQUIRE(tried == not_tried);
        }
    }
    CHECK(settled_tiles > 100);
    CHECK(moved > 20);
}

TEST_CASE_TEMPLATE("softmax of a tile: the sums are those of all scores, wherever the maximum stays", T,
                   float, double) {
    const detail::FlushToZero flush_to_zero;
    std::mt19937 generator(4);
    for (const double step : {-30.0, -3.0, 0.0, 3.0, 30.0, 300.0}) {
        TileOfQueries<T> queries{T(1.25)};
        const Index lanes = queries.lanes;
        std::vector<long double> largest(std::size_t(lanes), -infinity<long double>);
        std::vector<T> all;
        bool settled = false;
        for (int tile = 0; tile < 12; ++tile) {
            const auto scores = random_scores<T>(generator, 4, step * tile);
            all.insert(all.end(), scores.begin(), scores.end());
            if (!settled || !queries.absorb_if_settled(scores)) settled = queries.absorb(scores);
            for (const T weight : queries.weights) REQUIRE(weight <= std::exp2(detail::headroom<T>));
        }
        CAPTURE(step);
        for (Index lane = 0; lane < lanes; ++lane) {
            long double sum = 0, most = -infinity<long double>;
            for (std::size_t i = std::size_t(lane); i < all.size(); i += std::size_t(lanes))
                most = std::max(most, (long double)(all[i]) * (long double)(queries.scale));
            for (std::size_t i = std::size_t(lane); i < all.size(); i += std::size_t(lanes))
                sum += std::exp2((long double)(all[i]) * (long double)(queries.scale) - most);
            const double expected = double(most + std::log2(sum));
            REQUIRE(std::abs(queries.log_sum(lane) - expected) <
                    16 * double(std::numeric_limits<T>::epsilon()) * std::max(1.0, std::abs(expected)));
        }
    }
}

TEST_CASE_TEMPLATE("softmax of a tile: a maximum moves only where a score is far above it", T, float,
                   double) {
    const detail::FlushToZero flush_to_zero;
    TileOfQueries<T> queries{T(2)};
    CHECK(queries.absorb(same_scores(T(1))));  // as many as there are have a maximum
    CHECK(queries.maximum[0] == 1);
    CHECK(queries.absorb(same_scores(T(1) + detail::headroom<T> / 2)));
    CHECK(queries.maximum[0] == 1);
    CHECK(queries.weights[0] == std::exp2(detail::headroom<T>));
    CHECK_FALSE(queries.absorb_if_settled(same_scores(T(1) + detail::headroom<T> / 2)));  // it takes no risk
    CHECK(queries.absorb_if_settled(same_scores(T(1))));
    auto one_above = same_scores(T(-1000));
    one_above[0] = T(1) + (detail::headroom<T> + T(0.1)) / 2;
    CHECK_FALSE(queries.absorb_if_settled(one_above));
    one_above[0] = T(1) + (detail::headroom<T> - T(1.1)) / 2;
    CHECK(queries.absorb_if_settled(one_above));
    CHECK_FALSE(queries.absorb(same_scores(T(1) + detail::headroom<T> / 2 + T(0.01))));
    CHECK(queries.maximum[0] == T(1) + detail::headroom<T> / 2 + T(0.01));
    CHECK(queries.weights[0] == 1);
    CHECK(queries.absorb(same_scores(T(-1000))));
    CHECK(queries.maximum[0] == T(1) + detail::headroom<T> / 2 + T(0.01));
    CHECK(queries.weights[0] == 0);
}

TEST_CASE_TEMPLATE("softmax of a tile: the other queries change no bit of one", T, float, double) {
    const detail::FlushToZero flush_to_zero;
    std::mt19937 generator(5);
    constexpr auto lanes = std::size_t(TileOfQueries<T>::lanes);
    const auto is_other = [](std::size_t i) { return i % lanes % 3 != 1; };
    // The others have scores that rise or fall, none, or such as are subtracted before they are scaled.
    for (const T other : {T(5), -infinity<T>, infinity<T>, not_a_number<T>, T(1e30), T(-1e30)}) {
        CAPTURE(other);
        TileOfQueries<T> alone{T(0.7)}, among{T(0.7)};
        bool settled = false;
        for (int tile = 0; tile < 10; ++tile) {
            auto scores = random_scores<T>(generator, 10, 15 * (tile % 4));
            alone.absorb(scores);
            for (std::size_t i = 0; i < scores.size(); ++i)
                if (is_other(i)) scores[i] = other * T(tile + 1);
            if (!settled || !among.absorb_if_settled(scores)) settled = among.absorb(scores);
            for (std::size_t i = 0; i < scores.size(); ++i)
                if (!is_other(i)) REQUIRE(among.weights[i] == alone.weights[i]);
            for (std::size_t lane = 0; lane < lanes; ++lane) {
                if (is_other(lane)) continue;
                REQUIRE(among.maximum[lane] == alone.maximum[lane]);
                REQUIRE(among.sum[lane] == alone.sum[lane]);
                REQUIRE(among.decay[lane] == alone.decay[lane]);
            }
        }
    }
}

TEST_CASE_TEMPLATE("softmax of a tile: scores so large that the rounding of their maximum would count", T,
                   float, double) {
    const detail::FlushToZero flush_to_zero;
    for (const double size : {1e7, 1e9, 1e12, 1e20, 1e30}) {
        CAPTURE(size);
        TileOfQueries<T> queries{T(0.321)};
        auto scores = same_scores(T(size));
        for (int tile = 0; tile < 3; ++tile) queries.absorb(scores);
        CHECK(std::all_of(queries.weights.begin(), queries.weights.end(),
                          [](T weight) { return weight == 1; }));
        CHECK(queries.sum[0] == T(3 * keys));
        // The next number below.
        std::fill(scores.begin(), scores.end(), std::nextafter(T(size), T(0)));
        queries.absorb(scores);
        const double difference = double(T(size)) - double(std::nextafter(T(size), T(0)));
        CHECK(double(queries.weights[0]) ==
              doctest::Approx(std::exp2(-difference * double(queries.scale))).epsilon(1e-6));
        // And so much above that the maximum moves.
        const double above = std::max(40.0, difference);
        TileOfQueries<T> moved{T(0.321)};
        moved.absorb(same_scores(T(size)));
        moved.absorb(same_scores(T(size + above)));
        const double decay = std::exp2((double(T(size)) - double(T(size + above))) * double(moved.scale));
        CHECK(moved.maximum[0] > T(size));
        CHECK(double(moved.decay[0]) == doctest::Approx(decay).epsilon(1e-6).scale(1e-30));
    }
}

}  // namespace attention_softmax_tile
