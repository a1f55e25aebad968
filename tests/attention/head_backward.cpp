#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include <doctest/doctest.h>

#include <ring_attention/attention/head_backward.hpp>

#include "support/head_case.hpp"

namespace attention_head_backward {

namespace ra = ring_attention;
using ra::Index;
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
using Block = ra::detail::BackwardBlock<T>;

/// What a block of queries and a block of keys and values owe each other.
template <class T>
struct Gradient {
    Rows<T> query, key, value;

    /// Not 0 before: they are added to.
    explicit Gradient(const HeadShape& of)
        : query(support::normal_rows<T>(of.queries.count, of.head_dim, of.gap + 1, 21)),
          key(support::normal_rows<T>(of.keys.count, of.head_dim, of.gap + 2, 22)),
          value(support::normal_rows<T>(of.keys.count, of.width_of_values(), of.gap + 3, 23)) {}
};

template <class T>
bool same_bits(const Gradient<T>& a, const Gradient<T>& b) {
    return support::same_rows(a.query, b.query) && support::same_rows(a.key, b.key) &&
           support::same_rows(a.value, b.value);
}

/// The block, and what backward is given beside it. `dot` may be anything.
template <class T>
struct Case : HeadCase<T> {
    Rows<T> d_output;
    std::vector<T> log_sum_exp, dot;

    explicit Case(const HeadShape& of, std::uint64_t seed = 1)
        : HeadCase<T>(of, seed),
          d_output(support::normal_rows<T>(of.queries.count, of.width_of_values(), of.gap, seed + 31)),
          dot(inputs::normal<T>(std::size_t(of.queries.count), seed + 32)) {
        for (const long double exact : HeadOracle(*this).log_sum_exp) log_sum_exp.push_back(T(exact));
    }
};

/// Queries and keys are handed over in runs of so many.
template <class T>
Gradient<T> run(const Case<T>& c, Index query_run = 1'000'000, Index key_run = 1'000'000) {
    Gradient<T> gradient(c.shape);
    const ra::detail::QueryGradient<T> queries{c.query.view(), c.d_output.view(), c.log_sum_exp.data(),
                                               nullptr,        c.dot.data(),      gradient.query.view()};
    const ra::detail::KeyValueGradient<T> keys{c.key.view(), c.value.view(), c.shape.keys,
                                               gradient.key.view(), gradient.value.view()};
    const ra::detail::QueryHead<T> head{c.plan, c.terms, 0, 0, c.shape.queries, {}};
    for (Index i = 0; i < c.query.rows; i += query_run)
        for (Index j = 0; j < c.key.rows; j += key_run) {
            const ra::IndexRange rows{i, std::min(query_run, c.query.rows - i)};
            ra::detail::absorb_block_backward<T>(head, rows, queries.middle_rows(rows.first, rows.count),
                                                 keys.middle_rows(j, std::min(key_run, c.key.rows - j)));
        }
    return gradient;
}

/// Numbers and the sums of the sizes of what they are sums of, to which rounding is in proportion.
struct Sums {
    Rows<long double> sum, size;

    template <class T>
    explicit Sums(const Rows<T>& before) : sum(before.rows, before.cols), size(before.rows, before.cols) {
        for (Index i = 0; i < before.rows; ++i)
            for (Index k = 0; k < before.cols; ++k) {
                sum(i, k) = before(i, k);
                size(i, k) = std::abs(before(i, k));
            }
    }

    void add(Index i, Index k, long double term, long double its_size) {
        sum(i, k) += term;
        size(i, k) += its_size;
    }
};

/// P = exp(S - log_sum_exp), dP = value d_output, dS = scale P (dP - dot), one query and key at a time.
struct Oracle {
    Sums query, key, value;

    template <class T>
    explicit Oracle(const Case<T>& c)
        : query(Gradient<T>(c.shape).query),
          key(Gradient<T>(c.shape).key),
          value(Gradient<T>(c.shape).value) {
        for (Index i = 0; i < c.query.rows; ++i)
            for (Index j = 0; j < c.key.rows; ++j) {
                const T log_sum_exp = c.log_sum_exp[std::size_t(i)], dot = c.dot[std::size_t(i)];
                if (!c.sees(i, j) || log_sum_exp == -infinity<T>) continue;
                const long double p = std::exp(c.score(i, j) - log_sum_exp);
                long double dp = -dot, dp_size = std::abs(dot);
                for (Index k = 0; k < c.value.cols; ++k) {
                    const long double product = static_cast<long double>(c.value(j, k)) * c.d_output(i, k);
                    dp += product;
                    dp_size += std::abs(product);
                    value.add(j, k, p * c.d_output(i, k), p * std::abs(c.d_output(i, k)));
                }
                const long double ds = p * dp * c.scale, ds_size = p * dp_size * c.scale;
                for (Index k = 0; k < c.query.cols; ++k) {
                    query.add(i, k, ds * c.key(j, k), ds_size * std::abs(c.key(j, k)));
                    key.add(j, k, ds * c.query(i, k), ds_size * std::abs(c.query(i, k)));
                }
            }
    }
};

/// The largest error in epsilons of what the number is a sum of.
template <class T>
double error(const Rows<T>& given, const Sums& exact) {
    long double worst = 0;
    for (Index i = 0; i < given.rows; ++i)
        for (Index k = 0; k < given.cols; ++k) {
            const long double difference = std::abs(given(i, k) - exact.sum(i, k));
            if (std::isnan(difference)) return std::numeric_limits<double>::infinity();
            worst = std::max(worst, difference / exact.size(i, k));
        }
    return double(worst / std::numeric_limits<T>::epsilon());
}

template <class T>
double error(const Case<T>& c, const Gradient<T>& gradient) {
    const Oracle exact(c);
    return std::max({error(gradient.query, exact.query), error(gradient.key, exact.key),
                     error(gradient.value, exact.value)}) /
           (4 + c.largest_score());
}

/// So much of it is allowed.
constexpr double bound = 2;

template <class T>
void check(const Case<T>& c) {
    CAPTURE(c.shape);
    const Gradient<T> gradient = run(c);
    REQUIRE(error(c, gradient) <= bound);
    REQUIRE(gradient.query.kept_the_gaps());
    REQUIRE(gradient.key.kept_the_gaps());
    REQUIRE(gradient.value.kept_the_gaps());
}

/// Where the oracle has a finite number there is one, and elsewhere there is none.
template <class T>
bool same_finite_places(const Rows<T>& given, const Sums& exact) {
    for (Index i = 0; i < given.rows; ++i)
        for (Index k = 0; k < given.cols; ++k)
            if (std::isfinite(given(i, k)) != std::isfinite(exact.sum(i, k))) return false;
    return true;
}

}  // namespace

TEST_CASE_TEMPLATE("attention backward: any number of queries and of keys, wherever the mask cuts", T, float,
                   double) {
    constexpr Index width = ra::detail::Simd<T>::width, strip = ra::detail::ProductTile<T>::rows;
    constexpr Index head_dims[] = {8, 1, 16, 5, 31, 3, 32, 17, 33};
    std::size_t turn = 0;
    for (const Index num_queries :
         {Index(1), Index(2), width, width + 1, lanes<T> - 1, lanes<T>, lanes<T> + 1, 2 * lanes<T> + width,
          Block<T>::queries - 1, Block<T>::queries})
        for (const Index num_keys : {Index(1), strip - 1, strip + 1, tile_keys<T> - 1, tile_keys<T>,
                                     tile_keys<T> + strip, 2 * tile_keys<T> + 3}) {
            ++turn;
            // The first query stands before all keys, at the first, among them, at the last or behind.
            const Index places[] = {95, 100, 100 + num_keys / 2, 100 + num_keys - 1, 100 + num_keys + 3};
            check<T>(Case<T>({.queries = {places[turn % 5], num_queries},
                              .keys = {100, num_keys},
                              .head_dim = head_dims[turn % 9],
                              .causal = turn % 6 != 0,
                              .gap = Index(turn % 4 * 5)},
                             turn));
        }
    for (const bool causal : {true, false})
        check<T>(Case<T>({.queries = {tile_keys<T> + 1, Block<T>::queries},
                          .keys = {0, Block<T>::keys},
                          .head_dim = 6,
                          .causal = causal}));
}

TEST_CASE_TEMPLATE("attention backward: a mask that begins at any key", T, float, double) {
    for (Index first = -3; first < tile_keys<T> + 3; ++first)
        check<T>(Case<T>({.queries = {first, 1 + first % 7 * lanes<T> / 5 * (first > 0)},
                          .keys = {0, tile_keys<T>},
                          .head_dim = 4},
                         std::uint64_t(first + 100)));
}

TEST_CASE_TEMPLATE("attention backward: a window, wherever it begins and ends", T, float, double) {
    constexpr Index strip = ra::detail::ProductTile<T>::rows;
    std::size_t turn = 0;
    for (const Index window :
         {Index(1), Index(2), strip + 1, lanes<T>, tile_keys<T> - 1, tile_keys<T> + 5, 2 * tile_keys<T> + 9})
        for (const Index num_queries : {Index(1), lanes<T> - 1, lanes<T>, Block<T>::queries})
            for (const Index first : {95, 99, 120, 350, 700}) {
                ++turn;
                check<T>(Case<T>({.queries = {first, num_queries},
                                  .keys = {100, 2 * tile_keys<T> + 61},
                                  .head_dim = Index(4 + turn % 3 * 9),
                                  .causal = turn % 3 != 0,
                                  .gap = Index(turn % 2 * 3),
                                  .window = window},
                                 turn));
            }
}

TEST_CASE_TEMPLATE("attention backward: keys and queries a stride apart, with a window or none", T, float,
                   double) {
    for (const Index window : {0, 1, 3, 40, 300})
        for (const bool causal : {true, false})
            for (const Index first : {0, 4, 200}) {
                check<T>(Case<T>({.queries = {first, lanes<T> + 3, 3},
                                  .keys = {1, tile_keys<T> + 30, 3},
                                  .head_dim = 6,
                                  .causal = causal,
                                  .window = window}));
                check<T>(Case<T>({.queries = {first, lanes<T> + 3, 1, 5, 60},
                                  .keys = {1, tile_keys<T> + 30, 1, tile_keys<T> / 2, 70},
                                  .head_dim = 6,
                                  .causal = causal,
                                  .window = window}));
            }
}

TEST_CASE_TEMPLATE("attention backward: values wider and narrower than keys", T, float, double) {
    std::size_t turn = 0;
    for (const Index head_dim : {1, 7, 16, 32, 130})
        for (const Index value_width : {1, 2, 5, 16, 32, 33, 128, 200}) {
            ++turn;
            check<T>(Case<T>({.queries = {20, Index(1 + turn % 4 * 9)},
                              .keys = {0, 60},
                              .head_dim = head_dim,
                              .causal = turn % 3 != 0,
                              .gap = Index(turn % 3 * 4),
                              .window = Index(turn % 2 * 11),
                              .value_width = value_width},
                             turn));
        }
}

TEST_CASE_TEMPLATE("attention backward: any head_dim, any distance between the rows", T, float, double) {
    const Index query_counts[] = {1, 3, lanes<T> - 1, lanes<T> + 2};
    for (Index head_dim = 1; head_dim <= 130; ++head_dim)
        check<T>(Case<T>({.queries = {10, query_counts[head_dim % 4]},
                          .keys = {0, 1 + head_dim * 7 % 40},
                          .head_dim = head_dim,
                          .gap = head_dim % 3 * head_dim},
                         std::uint64_t(head_dim)));
    // Those that fill whole panels are read as they lie if nothing is between the rows.
    for (const Index head_dim : {31, 32, 33, 64, 72})
        for (const Index gap : {Index(0), head_dim})
            for (const bool causal : {true, false})
                check<T>(Case<T>({.queries = {3, lanes<T> + 7},
                                  .keys = {0, tile_keys<T> + 5},
                                  .head_dim = head_dim,
                                  .causal = causal,
                                  .gap = gap}));
}

TEST_CASE_TEMPLATE("attention backward: scores up to 10000, where nearly every weight is 0 or 1", T, float,
                   double) {
    const Case<T> c({.queries = {tile_keys<T> / 2, lanes<T> + 3},
                     .keys = {0, tile_keys<T> + 10},
                     .head_dim = 16,
                     .deviation = 70});
    CHECK(c.largest_score() > 10'000);
    check<T>(c);
}

TEST_CASE_TEMPLATE("attention backward: keys handed over tile by tile give the same bits", T, float, double) {
    std::size_t turn = 0;
    for (const Index window : {Index(0), Index(5), tile_keys<T> + 9})
        for (const Index first : {Index(0), tile_keys<T> - 3, 2 * tile_keys<T> + 5}) {
            const Case<T> c({.queries = {first, Block<T>::queries},
                             .keys = {0, 3 * tile_keys<T> + 7},
                             .head_dim = 24,
                             .causal = turn++ % 2 == 0,
                             .window = window});
            const Gradient<T> whole = run(c);
            CHECK(same_bits(run(c, Block<T>::queries, tile_keys<T>), whole));
            CHECK(same_bits(run(c, Block<T>::queries, 2 * tile_keys<T>), whole));
            // In runs of any length what is summed over the queries has the same bits, and in runs of
            // queries what is summed over the keys.
            for (const Index part : {Index(1), Index(13), lanes<T> + 1}) {
                const Gradient<T> some_keys = run(c, Block<T>::queries, 5 * part),
                                  some_queries = run(c, part, Block<T>::keys);
                CHECK(support::same_rows(some_keys.key, whole.key));
                CHECK(support::same_rows(some_keys.value, whole.value));
                CHECK(support::same_rows(some_queries.query, whole.query));
            }
        }
}

TEST_CASE_TEMPLATE("attention backward: keys that nobody sees change no bit, nor do they get any", T, float,
                   double) {
    const HeadShape shape{.queries = {20, lanes<T> + 3}, .keys = {0, 2 * tile_keys<T>}, .head_dim = 12};
    const Case<T> all(shape);
    const Gradient<T> gradient = run(all), nothing(shape);
    for (const Index count : {Index(20) + lanes<T> + 3, tile_keys<T>}) {
        Case<T> seen = all;
        seen.key.rows = seen.value.rows = count;
        CHECK(support::same_rows(run(seen).query, gradient.query));
    }
    for (Index j = 20 + lanes<T> + 3; j < all.key.rows; ++j) {
        CHECK(support::same_row(gradient.key, nothing.key, j));
        CHECK(support::same_row(gradient.value, nothing.value, j));
    }
    CHECK(same_bits(run(Case<T>({.queries = {0, 9}, .keys = {9, 30}, .head_dim = 3})),
                    Gradient<T>({.queries = {0, 9}, .keys = {9, 30}, .head_dim = 3})));
}

TEST_CASE_TEMPLATE("attention backward: a query with log_sum_exp -infinity adds nothing", T, float, double) {
    const HeadShape shape{.queries = {40, lanes<T> + 5}, .keys = {0, tile_keys<T> + 20}, .head_dim = 10};
    Case<T> c(shape);
    const auto saw_nothing = [](Index i) { return i % 3 == 0; };
    for (Index i = 0; i < c.query.rows; ++i)
        if (saw_nothing(i)) c.log_sum_exp[std::size_t(i)] = -infinity<T>;
    const Gradient<T> nothing(shape), gradient = run(c);
    CHECK(error(c, gradient) <= bound);
    for (Index i = 0; i < c.query.rows; ++i)
        CHECK(support::same_row(gradient.query, nothing.query, i) == saw_nothing(i));
    std::fill(c.log_sum_exp.begin(), c.log_sum_exp.end(), -infinity<T>);
    CHECK(same_bits(run(c), nothing));
}

TEST_CASE_TEMPLATE("attention backward: a NaN or an infinity goes where arithmetic takes it and no further",
                   T, float, double) {
    const HeadShape shape{.queries = {0, 2 * lanes<T> + 9}, .keys = {0, tile_keys<T> + 30}, .head_dim = 10};
    const Case<T> tame(shape);
    const Gradient<T> before = run(tame);
    const Index last_query = shape.queries.count - 1;
    enum class In { query, d_output, dot, key, value };
    for (const T number : wild<T>)
        for (const Index at : {Index(0), Index(5), lanes<T>, last_query, last_query + 1, tile_keys<T> + 7})
            for (const In in : {In::query, In::d_output, In::dot, In::key, In::value}) {
                CAPTURE(number);
                CAPTURE(at);
                CAPTURE(int(in));
                Case<T> c = tame;
                const bool in_query = in == In::query || in == In::d_output || in == In::dot;
                if (in_query && at > last_query) continue;
                if (in == In::dot)
                    c.dot[std::size_t(at)] = number;
                else
                    (in == In::query      ? c.query
                     : in == In::d_output ? c.d_output
                     : in == In::key      ? c.key
                                          : c.value)(at, 6) = number;
                const Gradient<T> after = run(c);
                const Oracle exact(c);
                CHECK(same_finite_places(after.query, exact.query));
                CHECK(same_finite_places(after.key, exact.key));
                CHECK(same_finite_places(after.value, exact.value));
                for (Index i = 0; i < c.query.rows; ++i)
                    if (in_query ? i != at : !c.sees(i, at))
                        REQUIRE(support::same_row(before.query, after.query, i));
                for (Index j = 0; j < c.key.rows; ++j)
                    if (in_query ? !c.sees(at, j) : j != at) {
                        REQUIRE(support::same_row(before.key, after.key, j));
                        REQUIRE(support::same_row(before.value, after.value, j));
                    }
            }
}

}  // namespace attention_head_backward
