#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include <doctest/doctest.h>

#include <ring_attention/attention/head_forward.hpp>

#include "support/compare.hpp"
#include "support/head_case.hpp"
#include "support/sanitized.hpp"

namespace attention_head_forward {

namespace ra = ring_attention;
using ra::Index;
using ra::detail::QueryBlock;
using support::HeadCase;
using support::HeadOracle;
using support::HeadShape;
using support::infinity;
using support::lanes;
using support::Rows;
using support::tile_keys;
using support::wild;

namespace {

template <class T>
struct Result {
    Rows<T> output;
    std::vector<T> log_sum_exp;

    explicit Result(const HeadCase<T>& c)
        : output(c.query.rows, c.value.cols, c.shape.gap), log_sum_exp(std::size_t(c.query.rows), T(77)) {}

    void finish(QueryBlock<T>& block, const HeadShape& shape) {
        block.so_far().finish(shape.heads(output), shape.heads(log_sum_exp.data(), 1, 1));
    }
};

template <class T>
QueryBlock<T> block_of(const HeadCase<T>& c) {
    return {c.plan, c.terms, 0, 0, c.shape.heads(c.query), c.shape.queries, {0, c.query.rows}};
}

/// Calls f(first key, how many) for chunks of the sizes, again and again up to the last key.
template <class T>
void for_each_chunk(const HeadCase<T>& c, const std::vector<Index>& sizes, auto&& f) {
    std::size_t turn = 0;
    for (Index first = 0, count; first < c.key.rows; first += count) {
        count = std::min(sizes[turn++ % sizes.size()], c.key.rows - first);
        f(first, count);
    }
}

template <class T>
void absorb(QueryBlock<T>& block, const HeadCase<T>& c, Index first, Index count) {
    block.absorb(c.key.view().middle_rows(first, count), c.value.view().middle_rows(first, count),
                 c.shape.keys.middle(first, count));
}

template <class T>
Result<T> run(const HeadCase<T>& c, const std::vector<Index>& chunks = {1'000'000}) {
    Result<T> result(c);
    auto block = block_of(c);
    for_each_chunk(c, chunks, [&](Index first, Index count) { absorb(block, c, first, count); });
    result.finish(block, c.shape);
    return result;
}

/// The same, but the block is put away after every chunk, and its memory is used for something else.
template <class T>
Result<T> run_with_interruptions(const HeadCase<T>& c, const std::vector<Index>& chunks) {
    Rows<T> so_far(c.query.rows, c.value.cols, c.shape.gap + 2);
    std::vector<T> maximum(std::size_t(c.query.rows)), sum(maximum.size());
    block_of(c).so_far().suspend(c.shape.heads(so_far), maximum.data(), sum.data());
    HeadCase<T> others({.queries = {0, lanes<T> + 1},
                        .keys = {0, lanes<T> + 1},
                        .head_dim = c.query.cols + 3,
                        .causal = false});
    for (Rows<T>* rows : {&others.query, &others.key, &others.value})
        std::fill(rows->numbers.begin(), rows->numbers.end(), wild<T>[0]);
    for_each_chunk(c, chunks, [&](Index first, Index count) {
        auto block = block_of(c);
        block.so_far().resume(c.shape.heads(so_far), maximum.data(), sum.data());
        absorb(block, c, first, count);
        block.so_far().suspend(c.shape.heads(so_far), maximum.data(), sum.data());

        auto other = block_of(others);
        absorb(other, others, 0, others.key.rows);
    });
    Result<T> result(c);
    auto block = block_of(c);
    block.so_far().resume(c.shape.heads(so_far), maximum.data(), sum.data());
    result.finish(block, c.shape);
    return result;
}

template <class T>
bool same_bits(const Result<T>& a, const Result<T>& b) {
    return support::same_rows(a.output, b.output) && compare::same_bits(a.log_sum_exp, b.log_sum_exp);
}

template <class T>
bool same_query(const Result<T>& a, const Result<T>& b, Index i) {
    return support::same_row(a.output, b.output, i) &&
           std::memcmp(&a.log_sum_exp[std::size_t(i)], &b.log_sum_exp[std::size_t(i)], sizeof(T)) == 0;
}

/// The largest error in units of what rounding may cost: an epsilon of the largest value, and for a score
/// that is a sum of large numbers an epsilon of those.
template <class T>
double error(const HeadCase<T>& c, const Result<T>& result, const HeadOracle& exact) {
    double output = 0, log_sum_exp = 0, largest_value = 1;
    for (Index j = 0; j < c.value.rows; ++j)
        for (Index k = 0; k < c.value.cols; ++k)
            if (std::isfinite(c.value(j, k)))
                largest_value = std::max(largest_value, double(std::abs(c.value(j, k))));
    for (Index i = 0; i < c.query.rows; ++i) {
        for (Index k = 0; k < c.value.cols; ++k)
            output = std::max(output, compare::distance(result.output(i, k), exact.output(i, k)));
        log_sum_exp = std::max(log_sum_exp, compare::distance(result.log_sum_exp[std::size_t(i)],
                                                              exact.log_sum_exp[std::size_t(i)]));
    }
    const double scores = c.largest_score(), rounding = double(std::numeric_limits<T>::epsilon()) *
                                                        (4 + (std::isfinite(scores) ? scores : 0));
    return std::max(output / largest_value, log_sum_exp) / rounding;
}

/// So many of them are allowed.
constexpr double bound = 2;

template <class T>
void check(const HeadCase<T>& c, const std::vector<Index>& chunks = {1'000'000}) {
    CAPTURE(c.shape);
    CAPTURE(chunks.front());
    const Result<T> result = run(c, chunks);
    REQUIRE(error(c, result, HeadOracle(c)) <= bound);
    REQUIRE(result.output.kept_the_gaps());
}

template <class T>
std::vector<Index> query_counts() {
    constexpr Index width = ra::detail::Simd<T>::width, all = QueryBlock<T>::max_queries;
    return {1,
            2,
            3,
            width - 1,
            width,
            width + 1,
            lanes<T> - 1,
            lanes<T>,
            lanes<T> + 1,
            2 * lanes<T> + 1,
            all - width,
            all - 1,
            all};
}

template <class T>
std::vector<Index> key_counts() {
    constexpr Index strip = ra::detail::ProductTile<T>::rows, tile = tile_keys<T>;
    return {1, 2, strip - 1, strip, strip + 1, tile - strip, tile - 1, tile, tile + 1, 2 * tile + 3};
}

}  // namespace

TEST_CASE_TEMPLATE("attention of a block: any number of queries and of keys", T, float, double) {
    constexpr Index head_dims[] = {8, 1, 16, 5, 24, 3, 32, 17};
    std::size_t turn = 0;
    for (const Index num_queries : query_counts<T>())
        for (const Index num_keys : key_counts<T>()) {
            ++turn;
            // The first query stands before all keys, at the first, among them, at the last or behind.
            const Index places[] = {95, 100, 100 + num_keys / 2, 100 + num_keys - 1, 100 + num_keys + 3};
            check<T>(HeadCase<T>({.queries = {places[turn % 5], num_queries},
                                  .keys = {100, num_keys},
                                  .head_dim = head_dims[turn % 8],
                                  .causal = turn % 7 != 0,
                                  .gap = Index(turn % 3 * 9)},
                                 turn));
        }
}

TEST_CASE_TEMPLATE("attention of a block: any head_dim, any distance between the rows", T, float, double) {
    const Index query_counts[] = {1, 3, lanes<T> - 1, lanes<T> + 2};
    for (Index head_dim = 1; head_dim <= 130; ++head_dim)
        check<T>(HeadCase<T>({.queries = {10, query_counts[head_dim % 4]},
                              .keys = {0, 1 + head_dim * 7 % 40},
                              .head_dim = head_dim,
                              .gap = head_dim % 3 * head_dim},
                             std::uint64_t(head_dim)));
}

TEST_CASE_TEMPLATE("attention of a block: keys in several chunks, with the block put away in between", T,
                   float, double) {
    const std::vector<std::vector<Index>> chunkings{
        {1, 30}, {7, 40}, {tile_keys<T>}, {tile_keys<T> + 1, 3}, {tile_keys<T> / 2, 2 * tile_keys<T>}};
    std::size_t turn = 0;
    for (const auto& chunks : chunkings)
        for (const Index num_queries : {Index(1), lanes<T> - 1, 2 * lanes<T> + 5, QueryBlock<T>::max_queries})
            for (const bool causal : {true, false}) {
                ++turn;
                // Behind the queries there are keys that nobody sees, whole chunks of them too.
                const HeadCase<T> c({.queries = {150, num_queries},
                                     .keys = {100, 2 * tile_keys<T> + 60},
                                     .head_dim = Index(5 + turn % 3 * 14),
                                     .causal = causal,
                                     .gap = Index(turn % 2 * 6)},
                                    turn);
                check<T>(c, chunks);
                const auto result = run_with_interruptions(c, chunks);
                REQUIRE(same_bits(result, run(c, chunks)));
                REQUIRE(result.output.kept_the_gaps());
            }
}

TEST_CASE_TEMPLATE("attention of a block: a window, wherever it begins and ends", T, float, double) {
    constexpr Index strip = ra::detail::ProductTile<T>::rows;
    std::size_t turn = 0;
    for (const Index window :
         {Index(1), Index(2), strip + 1, lanes<T>, tile_keys<T> - 1, tile_keys<T> + 5, 2 * tile_keys<T> + 9})
        for (const Index num_queries : {Index(1), lanes<T> - 1, lanes<T>, 3 * lanes<T> + 2})
            for (const Index first : {95, 99, 120, 350, 700}) {
                ++turn;
                const HeadCase<T> c({.queries = {first, num_queries},
                                     .keys = {100, 2 * tile_keys<T> + 61},
                                     .head_dim = Index(4 + turn % 3 * 9),
                                     .causal = turn % 3 != 0,
                                     .gap = Index(turn % 2 * 3),
                                     .window = window},
                                    turn);
                check<T>(c);
                const std::vector<Index> chunks{Index(1 + turn % 5 * 40), tile_keys<T>};
                check<T>(c, chunks);
                REQUIRE(same_bits(run_with_interruptions(c, chunks), run(c, chunks)));
            }
}

TEST_CASE_TEMPLATE("attention of a block: keys and queries a stride apart, with a window or none", T, float,
                   double) {
    for (const Index window : {0, 1, 3, 40, 300})
        for (const bool causal : {true, false})
            for (const Index first : {0, 4, 200}) {
                check<T>(HeadCase<T>({.queries = {first, lanes<T> + 3, 3},
                                      .keys = {1, tile_keys<T> + 30, 3},
                                      .head_dim = 6,
                                      .causal = causal,
                                      .window = window}));
                check<T>(HeadCase<T>({.queries = {first, lanes<T> + 3},
                                      .keys = {1, tile_keys<T> + 30, 1, tile_keys<T> / 2, 70},
                                      .head_dim = 6,
                                      .causal = causal,
                                      .window = window}));
            }
}

TEST_CASE_TEMPLATE("attention of a block: a group of heads, rows token by token and head by head", T, float,
                   double) {
    std::size_t turn = 0;
    for (const Index group : {2, 3, 4, 8})
        for (const Index tokens : {Index(1), Index(3), lanes<T> / 2 + 1, QueryBlock<T>::max_queries / group})
            for (const Index window : {Index(0), Index(3), tile_keys<T> + 2})
                for (const bool head_by_head : {true, false}) {
                    ++turn;
                    HeadShape shape{.queries = {90 + Index(turn % 7 * 30), tokens},
                                    .keys = {100, tile_keys<T> + 33},
                                    .head_dim = Index(3 + turn % 4 * 7),
                                    .causal = turn % 4 != 0,
                                    .gap = Index(turn % 3 * 2),
                                    .window = window,
                                    .group = group,
                                    .head_by_head = head_by_head};
                    const HeadCase<T> c(shape, turn);
                    const std::vector<Index> chunks{Index(30 + turn % 3 * 60)};
                    check<T>(c);
                    check<T>(c, chunks);
                    const auto result = run_with_interruptions(c, chunks);
                    REQUIRE(same_bits(result, run(c, chunks)));
                    REQUIRE(result.output.kept_the_gaps());
                }
}

TEST_CASE_TEMPLATE("attention of a block: a group gives the bits that its heads have alone", T, float,
                   double) {
    const Index group = 4, tokens = 2 * lanes<T> + 3;
    for (const bool head_by_head : {true, false}) {
        HeadShape shape{.queries = {30, tokens}, .keys = {0, tile_keys<T> + 90}, .head_dim = 12};
        shape.group = group;
        shape.head_by_head = head_by_head;
        const HeadCase<T> together(shape);
        const auto result = run(together);
        for (Index head = 0; head < group; ++head) {
            HeadShape one = shape;
            one.group = 1;
            HeadCase<T> alone(one);
            alone.key = together.key;
            alone.value = together.value;
            const auto row = [&](Index i) { return head_by_head ? head * tokens + i : i * group + head; };
            for (Index i = 0; i < tokens; ++i)
                for (Index k = 0; k < 12; ++k) alone.query(i, k) = together.query(row(i), k);
            const auto expected = run(alone);
            for (Index i = 0; i < tokens; ++i)
                for (Index k = 0; k < 12; ++k) REQUIRE(result.output(row(i), k) == expected.output(i, k));
        }
    }
}

TEST_CASE_TEMPLATE("attention of a block: values wider and narrower than keys", T, float, double) {
    std::size_t turn = 0;
    for (const Index head_dim : {1, 7, 16, 130})
        for (const Index value_width : {1, 2, 5, 16, 33, 128, 200}) {
            ++turn;
            const HeadCase<T> c({.queries = {20, Index(1 + turn % 4 * 11)},
                                 .keys = {0, tile_keys<T> + 9},
                                 .head_dim = head_dim,
                                 .gap = Index(turn % 3 * 4),
                                 .group = Index(1 + turn % 3),
                                 .head_by_head = turn % 2 == 0,
                                 .value_width = value_width},
                                turn);
            check<T>(c);
            check<T>(c, {40});
            REQUIRE(same_bits(run_with_interruptions(c, {40}), run(c, {40})));
        }
}

TEST_CASE_TEMPLATE("attention of a block: keys that nobody sees change no bit", T, float, double) {
    const HeadShape shape{.queries = {20, lanes<T> + 3}, .keys = {0, 400}, .head_dim = 12};
    const HeadCase<T> all(shape);
    HeadCase<T> seen = all;
    const Index count = shape.queries.first + shape.queries.count;
    seen.key.rows = seen.value.rows = count;
    for (const std::vector<Index>& chunks : {std::vector<Index>{400}, {count}, {count, 1}, {9}})
        CHECK(same_bits(run(all, chunks), run(seen, chunks)));
}

TEST_CASE_TEMPLATE("attention of a block: a query's bits do not depend on its neighbours", T, float, double) {
    const HeadCase<T> all(
        {.queries = {0, QueryBlock<T>::max_queries}, .keys = {0, 2 * tile_keys<T>}, .head_dim = 20});
    const auto whole = run(all);
    for (const Index first : {Index(0), Index(1), lanes<T> - 1, 3 * lanes<T> + 2})
        for (const Index count : {Index(1), lanes<T> / 2 + 1, 2 * lanes<T>}) {
            HeadCase<T> part(HeadShape{.queries = {first, count}, .keys = all.shape.keys, .head_dim = 20});
            part.key = all.key;
            part.value = all.value;
            for (Index i = 0; i < count; ++i)
                for (Index k = 0; k < 20; ++k) part.query(i, k) = all.query(first + i, k);
            const auto result = run(part);
            for (Index i = 0; i < count; ++i)
                for (Index k = 0; k < 20; ++k) REQUIRE(result.output(i, k) == whole.output(first + i, k));
        }
}

TEST_CASE_TEMPLATE("attention of a block: scores up to 10000, where nearly every weight is 0 or 1", T, float,
                   double) {
    for (const Index num_queries : {Index(3), lanes<T> + 1})
        for (const bool causal : {true, false}) {
            const HeadCase<T> c({.queries = {0, num_queries},
                                 .keys = {0, 2 * tile_keys<T> + 10},
                                 .head_dim = 16,
                                 .causal = causal,
                                 .deviation = 70});
            CHECK(c.largest_score() > 10'000);
            check<T>(c);
            check<T>(c, {50});
        }
}

TEST_CASE_TEMPLATE("attention of a block: one key with nearly all the weight, early or late", T, float,
                   double) {
    for (const Index dominant : {Index(0), tile_keys<T> - 1, tile_keys<T>, 2 * tile_keys<T> + 9}) {
        HeadCase<T> c({.queries = {2 * tile_keys<T>, lanes<T> + 5},
                       .keys = {0, 2 * tile_keys<T> + 10},
                       .head_dim = 16});
        for (Index i = 0; i < c.query.rows; ++i)
            for (Index k = 0; k < 16; ++k) c.query(i, k) = std::abs(c.query(i, k));
        for (Index k = 0; k < 16; ++k) c.key(dominant, k) = T(50);
        check<T>(c);
        check<T>(c, {tile_keys<T>});
    }
}

TEST_CASE_TEMPLATE("attention of a block: scores of -infinity have no weight", T, float, double) {
    const Index num_keys = 2 * tile_keys<T> + 10;
    const auto is_every = [](Index n) { return [n](Index j) { return j % n == 0; }; };
    const auto is_early = [](Index j) { return j < tile_keys<T> + 4; };
    const auto is_late = [](Index j) { return j >= tile_keys<T> - 4; };
    const auto check_those = [&](auto&& hidden) {
        for (const bool causal : {true, false}) {
            HeadCase<T> c(
                {.queries = {0, 2 * lanes<T> + 5}, .keys = {0, num_keys}, .head_dim = 9, .causal = causal});
            for (Index i = 0; i < c.query.rows; ++i) c.query(i, 4) = std::abs(c.query(i, 4)) + T(0.1);
            for (Index j = 0; j < num_keys; ++j)
                if (hidden(j)) c.key(j, 4) = -infinity<T>;
            const HeadOracle exact(c);
            for (const std::vector<Index>& chunks : {std::vector<Index>{num_keys}, {40}}) {
                const auto result = run(c, chunks);
                CHECK(error(c, result, exact) <= bound);
                CHECK(same_bits(run_with_interruptions(c, chunks), result));
            }
        }
    };
    check_those(is_every(3));
    check_those(is_every(2));
    check_those(is_early);
    check_those(is_late);
    check_those(is_every(1));
}

TEST_CASE_TEMPLATE("attention of a block: queries that see nothing get 0 and -infinity", T, float, double) {
    const auto check_nothing = [](const HeadCase<T>& c, const Result<T>& result, Index count) {
        for (Index i = 0; i < count; ++i) {
            for (Index k = 0; k < c.value.cols; ++k) REQUIRE(result.output(i, k) == 0);
            REQUIRE(result.log_sum_exp[std::size_t(i)] == -infinity<T>);
        }
    };
    const HeadCase<T> later({.queries = {5, lanes<T> + 3}, .keys = {500, 50}, .head_dim = 7, .gap = 2});
    check_nothing(later, run(later), later.query.rows);
    check_nothing(later, run_with_interruptions(later, {20}), later.query.rows);
    // The first of them see nothing, the others something.
    for (Index first_key : {1, 5, 20}) {
        const HeadCase<T> some({.queries = {0, lanes<T> + 3}, .keys = {first_key, 200}, .head_dim = 7});
        check<T>(some);
        check_nothing(some, run(some), std::min(first_key, some.query.rows));
    }
}

TEST_CASE_TEMPLATE("attention of a block: a NaN or an infinity behind the mask changes no bit", T, float,
                   double) {
    const HeadShape shape{.queries = {3, 2 * lanes<T>}, .keys = {0, tile_keys<T> + 30}, .head_dim = 10};
    const HeadCase<T> tame(shape);
    for (const std::vector<Index>& chunks : {std::vector<Index>{1000}, {50}}) {
        const auto before = run(tame, chunks);
        for (const T number : wild<T>)
            for (const Index j : {Index(0), Index(4), lanes<T> + 1, 2 * lanes<T> + 2, tile_keys<T> + 29})
                for (const bool in_key : {true, false}) {
                    CAPTURE(number);
                    CAPTURE(j);
                    CAPTURE(in_key);
                    HeadCase<T> c = tame;
                    (in_key ? c.key : c.value)(j, 6) = number;
                    const auto after = run(c, chunks);
                    for (Index i = 0; i < c.query.rows; ++i)
                        if (!c.sees(i, j)) REQUIRE(same_query(before, after, i));
                    // And those that see it have what arithmetic gives.
                    REQUIRE(error(c, after, HeadOracle(c)) <= bound);
                    REQUIRE(same_bits(run_with_interruptions(c, chunks), after));
                }
    }
}

TEST_CASE_TEMPLATE("attention of a block: a query that is not finite spoils no other", T, float, double) {
    const HeadCase<T> tame({.queries = {3, lanes<T> + 4}, .keys = {0, tile_keys<T> + 30}, .head_dim = 10});
    const auto before = run(tame);
    for (const T number : wild<T>)
        for (const Index bad : {Index(0), lanes<T> - 1, lanes<T> + 3}) {
            HeadCase<T> c = tame;
            c.query(bad, 2) = number;
            const auto after = run(c);
            for (Index i = 0; i < c.query.rows; ++i)
                if (i != bad) REQUIRE(same_query(before, after, i));
            CHECK_FALSE(std::isfinite(after.log_sum_exp[std::size_t(bad)]));
        }
}

TEST_CASE("attention of a block: over 262144 keys rounding does not pile up") {
    constexpr Index num_keys = support::sanitized ? 16'384 : 262'144, chunk = 4096, head_dim = 64,
                    num_queries = 2 * lanes<float>;
    constexpr Index sampled[] = {0, lanes<float> - 1, lanes<float>, num_queries - 1};
    const auto check_drift = [&](float mean_value, double deviation) {
        // The chunks are made one after the other and forgotten.
        HeadCase<float> c({.queries = {num_keys - num_queries, num_queries},
                           .keys = {0, chunk},
                           .head_dim = head_dim,
                           .deviation = 0});
        c.plan.mask.key_len = num_keys;
        inputs::Numbers numbers(7);
        const auto fill = [&](Rows<float>& rows, float mean, double size) {
            for (float& number : rows.numbers) number = mean + float(size * numbers.uniform());
        };
        fill(c.query, 0, deviation);
        long double sum[4] = {}, output[4][head_dim] = {};
        auto block = block_of(c);
        for (c.shape.keys.first = 0; c.shape.keys.first < num_keys; c.shape.keys.first += chunk) {
            fill(c.key, 0, deviation);
            fill(c.value, mean_value, 1);
            absorb(block, c, 0, chunk);
            for (int s = 0; s < 4; ++s)
                for (Index j = 0; j < chunk && c.sees(sampled[s], j); ++j) {
                    const long double weight = std::exp(c.score(sampled[s], j));  // long double holds it
                    sum[s] += weight;
                    for (Index k = 0; k < head_dim; ++k) output[s][k] += weight * c.value(j, k);
                }
        }
        Result<float> result(c);
        result.finish(block, c.shape);

        double worst_output = 0, worst_log_sum_exp = 0;
        for (int s = 0; s < 4; ++s) {
            double difference = 0, largest = 0;
            for (Index k = 0; k < head_dim; ++k) {
                const long double exact = output[s][k] / sum[s];
                difference = std::max(difference, double(std::abs(result.output(sampled[s], k) - exact)));
                largest = std::max(largest, double(std::abs(exact)));
            }
            worst_output = std::max(worst_output, difference / largest);
            const long double exact = std::log(sum[s]);
            worst_log_sum_exp =
                std::max(worst_log_sum_exp,
                         double(std::abs((result.log_sum_exp[std::size_t(sampled[s])] - exact) / exact)));
        }
        MESSAGE(num_keys, " keys, values around ", mean_value, ": relative error of output ", worst_output,
                ", of log_sum_exp ", worst_log_sum_exp);
        CHECK(worst_output < 8e-6);
        CHECK(worst_log_sum_exp < 1.5e-7);
    };
    check_drift(0, 1.7);  // uniform with a deviation of 1
    check_drift(1, 1.7);
}

}  // namespace attention_head_forward
