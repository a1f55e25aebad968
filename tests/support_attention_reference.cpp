// The oracle of attention with every option against finite differences, pictures of who sees whom, and the
// oracle of plain attention; and the random cases, that they combine everything. Without the library.

#include <array>
#include <cmath>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

#include "support/attention_oracle.hpp"
#include "support/attention_random.hpp"
#include "support/attention_reference.hpp"
#include "support/compare.hpp"
#include "support/finite_differences.hpp"
#include "support/inputs.hpp"

namespace {

using R = long double;
using Values = std::vector<R>;
using oracle::AttentionProblem;
using support::Feature;
using support::RandomAttention;

constexpr R infinity = std::numeric_limits<R>::infinity();

/// A row of text for each query, with an x for each key that it sees.
std::vector<std::string> picture(const AttentionProblem& p, oracle::Index batch = 0) {
    std::vector<std::string> rows;
    for (oracle::Index i = 0; i < p.query_len; ++i) {
        rows.emplace_back();
        for (oracle::Index j = 0; j < p.key_len; ++j)
            rows.back() += oracle::sees(batch, p.query_offset + i, j, p) ? 'x' : '.';
    }
    return rows;
}

using Picture = std::vector<std::string>;

/// One head of width 1 with key_len keys 0, whose values are 1, 2, 3 ...
oracle::AttentionNumbers<R> counting_values(const AttentionProblem& p) {
    oracle::AttentionNumbers<R> n;
    n.query.assign(std::size_t(p.query_len), 1);
    n.key.assign(std::size_t(p.key_len), 0);
    for (oracle::Index j = 0; j < p.key_len; ++j) n.value.push_back(R(j + 1));
    n.d_output.assign(std::size_t(p.query_len), 1);
    return n;
}

struct Halved {
    template <class T>
    T operator()(T score, oracle::Index, oracle::Index, oracle::Index, oracle::Index) const {
        return score / 2;
    }
    template <class T>
    T derivative(T, oracle::Index, oracle::Index, oracle::Index, oracle::Index) const {
        return T(1) / 2;
    }
};

/// Largest part of its tolerance that an error takes, where an answer is computed as the reference is but in
/// T alone.
template <class T, class Wider>
double worst_of_tolerance(const RandomAttention<T>& c) {
    const auto reference = c.template reference<Wider>();
    const auto answer = c.template reference<T>().answer;
    double worst = 0;
    for (const auto part : oracle::parts_of_answer) {
        const auto &expected = oracle::part(reference.answer, part),
                   &error = oracle::part(reference.error, part);
        const auto& given = oracle::part(answer, part);
        for (std::size_t i = 0; i < expected.size(); ++i) {
            const double tolerance = double(error[i]) * double(std::numeric_limits<T>::epsilon()) +
                                     1e6 * double(std::numeric_limits<T>::min());
            worst = std::max(worst, compare::distance(given[i], expected[i]) / tolerance);
        }
    }
    return worst;
}

}  // namespace

TEST_CASE("reference: who sees whom") {
    AttentionProblem p{.query_len = 5, .key_len = 5};
    CHECK(picture(p) == Picture{"x....",  //
                                "xx...",  //
                                "xxx..",  //
                                "xxxx.",  //
                                "xxxxx"});
    p.window = 2;
    CHECK(picture(p) == Picture{"x....",  //
                                "xx...",  //
                                ".xx..",  //
                                "..xx.",  //
                                "...xx"});
    p.prefix = 2;
    CHECK(picture(p) == Picture{"xx...",  //
                                "xx...",  //
                                "xxx..",  //
                                "xxxx.",  //
                                "xx.xx"});
    p.document_starts = {0, 1, 3};
    CHECK(picture(p) == Picture{"x....",  //
                                ".x...",  //
                                ".xx..",  //
                                "...x.",  //
                                "...xx"});
    p.causal = false;
    p.prefix = 0;
    p.lengths = {5, 4};
    CHECK(picture(p, 1) == Picture{"x....",  //
                                   ".xx..",  //
                                   ".xx..",  //
                                   "...x.",  //
                                   "...x."});
    p.document_starts = {};
    CHECK(picture(p, 0) == Picture{"xx...",  //
                                   "xxx..",  //
                                   ".xxx.",  //
                                   "..xxx",  //
                                   "...xx"});
}

TEST_CASE("reference: who sees whom where queries are elsewhere than keys") {
    AttentionProblem p{.query_len = 3, .key_len = 5};
    CHECK(picture(p) == Picture{"x....",  //
                                "xx...",  //
                                "xxx.."});
    p.query_offset = 2;
    CHECK(picture(p) == Picture{"xxx..",  //
                                "xxxx.",  //
                                "xxxxx"});
    p.query_offset = 4;
    p.window = 2;
    CHECK(picture(p) == Picture{"...xx",  //
                                "....x",  //
                                "....."});
    p.document_starts = {0, 5};
    CHECK(picture(p) == Picture{"...xx",  //
                                ".....",  //
                                "....."});
    p = {.query_len = 3, .key_len = 2, .document_starts = {0, 1}, .query_offset = -1};
    CHECK(picture(p) == Picture{"..",  //
                                "x.",  //
                                ".x"});
}

TEST_CASE("reference: numbers that are known without computing") {
    AttentionProblem p{.query_len = 2, .key_len = 2, .causal = false};
    auto n = counting_values(p);
    auto answer = oracle::reference_attention(p, n).answer;
    CHECK(answer.output == Values{1.5L, 1.5L});
    CHECK(answer.log_sum_exp == Values{std::log(2.0L), std::log(2.0L)});

    // A sink as heavy as both keys takes half of the weight.
    n.sinks = {std::log(2.0L)};
    answer = oracle::reference_attention(p, n).answer;
    CHECK(answer.output[0] == doctest::Approx(0.75));
    CHECK(answer.log_sum_exp[0] == doctest::Approx(std::log(4.0)));
    CHECK(answer.d_sinks[0] == doctest::Approx(-2 * 0.5 * 0.75));  // of two queries

    // ALiBi takes the slope for each token of distance: weights 1 : 1/3.
    n.sinks = {};
    n.slopes = {std::log(3.0L)};
    answer = oracle::reference_attention(p, n).answer;
    CHECK(answer.output[0] == doctest::Approx((1 + 2 / 3.0) / (4 / 3.0)));
    CHECK(answer.output[1] == doctest::Approx((1 / 3.0 + 2) / (4 / 3.0)));

    // The cap comes first, then ALiBi and bias, then the user's own: (1 tanh(3 / 1) - ln 3 + 5) / 2
    p.softcap = 1;
    p.scale = 3;
    n.key = {1, 1};
    n.bias = {5, -infinity, -infinity, -infinity};
    p.query_offset = 1;
    answer = oracle::reference_attention(p, n, Halved{}).answer;
    CHECK(answer.log_sum_exp[0] == doctest::Approx(double(std::tanh(3.0L) - std::log(3.0L) + 5) / 2));
    CHECK(answer.output == Values{1, 0});
    CHECK(answer.log_sum_exp[1] == -infinity);
}

TEST_CASE("reference: which key-value head and which part of a bias belongs to a query head") {
    AttentionProblem p{.batch = 2, .heads = 4, .key_value_heads = 2};
    oracle::AttentionNumbers<R> n;
    n.query.assign(8, 1);
    n.d_output.assign(8, 1);
    n.key = {1, 2, 3, 4};
    n.value = {10, 20, 30, 40};
    CHECK(oracle::reference_attention(p, n).answer.output == Values{10, 10, 20, 20, 30, 30, 40, 40});
    CHECK(oracle::reference_attention(p, n).answer.log_sum_exp == Values{1, 1, 2, 2, 3, 3, 4, 4});
    n.key = {0, 0, 0, 0};
    const auto log_sum_exp = [&](oracle::Index batch, oracle::Index heads, Values bias) {
        p.bias_batch = batch;
        p.bias_heads = heads;
        n.bias = std::move(bias);
        return oracle::reference_attention(p, n).answer.log_sum_exp;
    };
    CHECK(log_sum_exp(1, 1, {5}) == Values{5, 5, 5, 5, 5, 5, 5, 5});
    CHECK(log_sum_exp(2, 1, {5, 6}) == Values{5, 5, 5, 5, 6, 6, 6, 6});
    CHECK(log_sum_exp(1, 4, {1, 2, 3, 4}) == Values{1, 2, 3, 4, 1, 2, 3, 4});
    CHECK(log_sum_exp(2, 4, {1, 2, 3, 4, 5, 6, 7, 8}) == Values{1, 2, 3, 4, 5, 6, 7, 8});
    n.slopes = {0, 1, 2, 3};
    n.sinks = {-infinity, -infinity, -infinity, 0};
    p.query_offset = 1;
    p.causal = false;
    const Values by_head = log_sum_exp(1, 1, {7});
    CHECK(by_head[1] == 6);
    CHECK(by_head[2] == 5);
    CHECK(by_head[7] == doctest::Approx(double(std::log(std::exp(4.0L) + 1))));
}

TEST_CASE("reference: a query that sees nothing") {
    AttentionProblem p{.query_len = 1, .key_len = 2, .lengths = {0}};
    auto n = counting_values(p);
    for (const bool by_bias : {false, true}) {
        n.sinks = {};
        if (by_bias) {
            p.lengths = {};
            n.bias = {-infinity, -infinity};
        }
        for (const bool sink : {false, true}) {
            if (sink) n.sinks = {-7};
            const auto [answer, error] = oracle::reference_attention(p, n);
            CHECK(answer.output == Values{0});
            CHECK(answer.log_sum_exp == Values{sink ? -7 : -infinity});
            CHECK(answer.d_query == Values{0});
            CHECK(answer.d_key == Values{0, 0});
            CHECK(answer.d_value == Values{0, 0});
            CHECK(answer.d_bias == Values(n.bias.size(), R(0)));
            CHECK(answer.d_sinks == Values(n.sinks.size(), R(0)));
        }
    }
}

TEST_CASE("reference: it is the oracle of plain attention where nothing is asked for") {
    for (const bool causal : {true, false}) {
        const oracle::AttentionShape shape{2, 3, 7, 5};
        const auto q = inputs::normal<R>(shape.size(), 1), k = inputs::normal<R>(shape.size(), 2);
        const auto v = inputs::normal<R>(shape.size(), 3), d_output = inputs::normal<R>(shape.size(), 4);
        const AttentionProblem p{.batch = 2,
                                 .heads = 3,
                                 .key_value_heads = 3,
                                 .query_len = 7,
                                 .key_len = 7,
                                 .head_dim = 5,
                                 .value_dim = 5,
                                 .causal = causal};
        const auto answer = oracle::reference_attention<R>(p, {q, k, v, d_output, {}, {}, {}}).answer;
        const auto plain = oracle::attention(q, k, v, shape, causal);
        const auto gradient = oracle::attention_backward(d_output, q, k, v, shape, causal);
        CHECK(compare::largest_difference(answer.output, plain.output) < 1e-17);
        CHECK(compare::largest_difference(answer.log_sum_exp, plain.log_sum_exp) < 1e-17);
        CHECK(compare::largest_difference(answer.d_query, gradient.query) < 1e-17);
        CHECK(compare::largest_difference(answer.d_key, gradient.key) < 1e-17);
        CHECK(compare::largest_difference(answer.d_value, gradient.value) < 1e-17);
    }
}

TEST_CASE("reference: every gradient is that of finite differences") {
    std::array<int, support::num_features> tried{};
    int cases = 0;
    for (std::uint64_t seed = 0; cases < 150; ++seed) {
        const RandomAttention<double> c(seed);
        const auto& p = c.problem;
        const auto size =
            c.numbers.query.size() + c.numbers.key.size() + c.numbers.value.size() + c.numbers.bias.size();
        if (p.batch * p.heads * p.query_len * p.key_len > 150 || size > 200 || c.has(Feature::wide)) continue;
        ++cases;
        for (const Feature feature : c.features) ++tried[std::size_t(feature)];
        INFO("seed ", seed, ": ", c.description());

        auto n = c.widened<R>();
        const auto answer_of = [&] {
            return c.has_own_score ? oracle::reference_attention(p, n, c.own_score).answer
                                   : oracle::reference_attention(p, n).answer;
        };
        const auto answer = answer_of();
        const auto loss = [&] { return support::inner_product(answer_of().output, n.d_output); };
        const auto check = [&](Values& by, const Values& gradient) {
            const Values expected = support::finite_differences(by.data(), by.size(), 1e-4L, loss);
            CHECK(compare::largest_difference(gradient, expected) <
                  1e-9 * std::max(1.0, compare::largest(expected)));
        };
        check(n.query, answer.d_query);
        check(n.key, answer.d_key);
        check(n.value, answer.d_value);
        check(n.bias, answer.d_bias);
        check(n.sinks, answer.d_sinks);
    }
    for (std::size_t feature = 0; feature < support::num_features; ++feature) {
        CAPTURE(feature);
        if (Feature(feature) != Feature::wide) CHECK(tried[feature] > 10);
    }
}

TEST_CASE(
    "reference: the error that stands beside a number is at least what rounding makes of it, and not much "
    "more") {
    double worst_float = 0, worst_double = 0;
    for (std::uint64_t seed = 0; seed < 300; ++seed) {
        CAPTURE(seed);
        worst_float = std::max(worst_float, worst_of_tolerance<float, double>(RandomAttention<float>(seed)));
        worst_double = std::max(worst_double, worst_of_tolerance<double, R>(RandomAttention<double>(seed)));
    }
    CHECK(worst_float < 1);
    CHECK(worst_float > 0.1);
    CHECK(worst_double < 1);
    CHECK(worst_double > 0.1);
}

TEST_CASE("random attention: 2000 cases have every feature together with every other") {
    std::array<std::array<int, support::num_features>, support::num_features> together{};
    for (std::uint64_t seed = 0; seed < 2000; ++seed) {
        const auto features = RandomAttention<float>(seed).features;
        for (const Feature a : features)
            for (const Feature b : features) ++together[std::size_t(a)][std::size_t(b)];
    }
    for (std::size_t a = 0; a < support::num_features; ++a)
        for (std::size_t b = 0; b < support::num_features; ++b) {
            CAPTURE(a);
            CAPTURE(b);
            const bool layouts = a != b && std::min(a, b) == std::size_t(Feature::zigzag) &&
                                 std::max(a, b) == std::size_t(Feature::striped);
            CHECK((together[a][b] > 50) == !layouts);
        }
}
