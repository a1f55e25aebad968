// NaN and infinity go where arithmetic takes them and nowhere else: what the mask hides is as it was, to the
// bit.

#include <cmath>
#include <limits>

#include <doctest/doctest.h>

#include <ring_attention/attention/operator.hpp>

#include "support/attention_case.hpp"
#include "support/layouts.hpp"

namespace attention_not_finite {

namespace {

namespace ra = ring_attention;
using support::AttentionCase;
using support::AttentionRun;
using support::Scores;

template <class T>
constexpr T wild[] = {std::numeric_limits<T>::quiet_NaN(), std::numeric_limits<T>::infinity(),
                      -std::numeric_limits<T>::infinity()};

/// tensor[:, :, first : first + count] is the same in both, to the bit.
template <class T, int Rank>
bool same_positions(const ra::Tensor<T, Rank>& a, const ra::Tensor<T, Rank>& b, ra::Index first,
                    ra::Index count) {
    return compare::same_bits(tensors::slice(a, 2, first, count), tensors::slice(b, 2, first, count));
}

/// Every head but head 1 of batch entry 1 is the same in both, to the bit.
template <class T, int Rank>
bool same_other_heads(const ra::Tensor<T, Rank>& a, const ra::Tensor<T, Rank>& b) {
    return compare::same_bits(tensors::slice(a, 0, 0, 1), tensors::slice(b, 0, 0, 1)) &&
           compare::same_bits(tensors::slice(tensors::slice(a, 0, 1, 1), 1, 0, 1),
                              tensors::slice(tensors::slice(b, 0, 1, 1), 1, 0, 1));
}

template <class T>
bool same_other_heads(const AttentionRun<T>& a, const AttentionRun<T>& b) {
    return same_other_heads(a.result.output, b.result.output) &&
           same_other_heads(a.result.log_sum_exp, b.result.log_sum_exp) &&
           same_other_heads(a.gradient.query, b.gradient.query) &&
           same_other_heads(a.gradient.key, b.gradient.key) &&
           same_other_heads(a.gradient.value, b.gradient.value);
}

/// Where the oracle has a finite number there is one, and elsewhere there is none.
template <class T, int Rank, class R>
bool same_finite_places(const ra::Tensor<T, Rank>& a, const std::vector<R>& expected) {
    for (std::size_t i = 0; i < expected.size(); ++i)
        if (std::isfinite(a.data()[i]) != std::isfinite(expected[i])) return false;
    return true;
}

template <class T>
bool as_far_as_the_oracle(const AttentionCase<T>& c, const AttentionRun<T>& run, bool causal) {
    const support::Expected<T> expected(c, causal);
    return same_finite_places(run.result.output, expected.result.output) &&
           same_finite_places(run.result.log_sum_exp, expected.result.log_sum_exp) &&
           same_finite_places(run.gradient.query, expected.gradient.query) &&
           same_finite_places(run.gradient.key, expected.gradient.key) &&
           same_finite_places(run.gradient.value, expected.gradient.value);
}

constexpr ra::Index seq_len = 13;
const oracle::AttentionShape shape{2, 2, std::size_t(seq_len), 5};

/// Plants the number in feature 2 of head 1 of batch entry 1, at that position.
template <class T>
void plant(ra::Tensor<T, 4>& tensor, ra::Index position, T number) {
    tensor(1, 1, position, 2) = number;
}

template <class F>
void for_each_plant(const F& f) {
    for (const ra::Layout layout : support::every_layout)
        for (const ra::Index num_chunks : {1, 4, 13, 20})
            for (const ra::Index position : {ra::Index(0), ra::Index(6), seq_len - 1}) {
                INFO(num_chunks, " chunks, ", support::name_of(layout), ", position ", position);
                f(ra::AttentionOptions{.num_chunks = num_chunks, .layout = layout}, position);
            }
}

}  // namespace

TEST_CASE_TEMPLATE("attention: a wild key or value reaches no earlier query", T, float, double) {
    for (const T number : wild<T>)
        for_each_plant([&](const ra::AttentionOptions& options, ra::Index position) {
            AttentionCase<T> c(shape, Scores::ordinary);
            const auto before = support::run(c, options);
            plant(c.k, position, number);
            plant(c.v, position, number);
            const auto after = support::run(c, options);
            CHECK(same_positions(before.result.output, after.result.output, 0, position));
            CHECK(same_positions(before.result.log_sum_exp, after.result.log_sum_exp, 0, position));
            CHECK(same_positions(before.gradient.query, after.gradient.query, 0, position));
            CHECK_FALSE(std::isfinite(after.result.output(1, 1, position, 2)));
            CHECK(same_other_heads(before, after));
        });
}

TEST_CASE_TEMPLATE("attention: a wild value alone spoils its feature of the queries that see it", T, float,
                   double) {
    for (const T number : wild<T>)
        for_each_plant([&](const ra::AttentionOptions& options, ra::Index position) {
            AttentionCase<T> c(shape, Scores::ordinary);
            plant(c.v, position, number);
            const auto after = support::run(c, options);
            CHECK(as_far_as_the_oracle(c, after, true));
            ra::AttentionOptions unmasked = options;
            unmasked.causal = false;
            CHECK(as_far_as_the_oracle(c, support::run(c, unmasked), false));
        });
}

TEST_CASE_TEMPLATE("attention: a wild query reaches no other output and no later key's gradient", T, float,
                   double) {
    for (const T number : wild<T>)
        for_each_plant([&](const ra::AttentionOptions& options, ra::Index position) {
            AttentionCase<T> c(shape, Scores::ordinary);
            const auto before = support::run(c, options);
            plant(c.q, position, number);
            const auto after = support::run(c, options);
            const ra::Index later = position + 1, count = seq_len - later;
            for (const auto& [first, length] : {std::pair(ra::Index(0), position), std::pair(later, count)}) {
                CHECK(same_positions(before.result.output, after.result.output, first, length));
                CHECK(same_positions(before.gradient.query, after.gradient.query, first, length));
            }
            CHECK(same_positions(before.gradient.key, after.gradient.key, later, count));
            CHECK(same_positions(before.gradient.value, after.gradient.value, later, count));
            CHECK(same_other_heads(before, after));
        });
}

TEST_CASE_TEMPLATE("attention: a wild d_output reaches its query and the keys that it sees", T, float,
                   double) {
    for (const T number : wild<T>)
        for_each_plant([&](const ra::AttentionOptions& options, ra::Index position) {
            AttentionCase<T> c(shape, Scores::ordinary);
            const auto before = support::run(c, options);
            plant(c.d_output, position, number);
            const auto after = support::run(c, options);
            const ra::Index later = position + 1, count = seq_len - later;
            CHECK(same_positions(before.gradient.query, after.gradient.query, 0, position));
            CHECK(same_positions(before.gradient.query, after.gradient.query, later, count));
            CHECK(same_positions(before.gradient.key, after.gradient.key, later, count));
            CHECK(same_positions(before.gradient.value, after.gradient.value, later, count));
            CHECK(same_other_heads(before, after));
            CHECK(as_far_as_the_oracle(c, after, true));
        });
}

TEST_CASE_TEMPLATE("attention: without a mask a NaN fills its own head only", T, float, double) {
    AttentionCase<T> c(shape, Scores::ordinary);
    const auto before = support::run(c, {.num_chunks = 4, .causal = false});
    plant(c.k, 12, wild<T>[0]);
    const auto after = support::run(c, {.num_chunks = 4, .causal = false});
    CHECK(same_other_heads(before, after));
    CHECK(as_far_as_the_oracle(c, after, false));
    CHECK(std::isnan(after.result.output(1, 1, 0, 0)));
}

TEST_CASE_TEMPLATE("attention: a masked NaN in the last tile, many tiles long", T, float, double) {
    AttentionCase<T> c({2, 2, 150, 3}, Scores::ordinary);
    for (const auto& options : {ra::AttentionOptions{.num_chunks = 1}, ra::AttentionOptions{.num_chunks = 2},
                                ra::AttentionOptions{.num_chunks = 2, .layout = ra::Layout::zigzag},
                                ra::AttentionOptions{.num_chunks = 2, .layout = ra::Layout::striped}}) {
        const auto before = support::run(c, options);
        auto spoiled = c;
        plant(spoiled.k, 149, wild<T>[0]);
        plant(spoiled.v, 149, wild<T>[1]);
        const auto after = support::run(spoiled, options);
        CHECK(same_positions(before.result.output, after.result.output, 0, 149));
        CHECK(same_positions(before.gradient.query, after.gradient.query, 0, 149));
        CHECK(same_other_heads(before, after));
    }
}

TEST_CASE_TEMPLATE("attention: scores that are all -infinity give 0, log-sum-exp -infinity and no gradient",
                   T, float, double) {
    // Finite numbers whose product is beyond the largest. The first two keys are such, the third is not.
    const T huge = std::sqrt(std::numeric_limits<T>::max()) * T(4);
    for (int turn = 0; turn < 9; ++turn) {
        const ra::AttentionOptions options{.num_chunks = 1 + turn % 3,
                                           .layout = support::every_layout[turn / 3]};
        AttentionCase<T> c({1, 1, 3, 1}, Scores::ordinary);
        c.q.setConstant(huge);
        c.k.setConstant(-huge);
        c.k(0, 0, 2, 0) = T(1) / huge;
        const auto [result, gradient] = support::run(c, options);
        for (const ra::Index query : {0, 1}) {
            CHECK(result.output(0, 0, query, 0) == 0);
            CHECK(result.log_sum_exp(0, 0, query) == -std::numeric_limits<T>::infinity());
            CHECK(gradient.query(0, 0, query, 0) == 0);
            CHECK(gradient.key(0, 0, query, 0) == 0);
            CHECK(gradient.value(0, 0, query, 0) == 0);
        }
        CHECK(result.output(0, 0, 2, 0) == c.v(0, 0, 2, 0));
        CHECK(gradient.value(0, 0, 2, 0) == c.d_output(0, 0, 2, 0));
    }
}

TEST_CASE_TEMPLATE("attention: scores beyond the largest number are as large as the cap", T, float, double) {
    const T huge = std::sqrt(std::numeric_limits<T>::max()) * T(16);
    constexpr ra::Index tokens = 150;
    constexpr double cap = 3;
    AttentionCase<T> c({1, 1, std::size_t(tokens), 1}, Scores::ordinary);
    c.q.setConstant(huge);
    for (ra::Index i = 0; i < tokens; ++i) c.k(0, 0, i, 0) = i % 3 == 0 ? huge : -huge;
    for (const bool causal : {true, false}) {
        const auto [result, gradient] = support::run(c, {.causal = causal, .softcap = cap});
        for (ra::Index query = 0; query < tokens; ++query) {
            double sum = 0, output = 0;
            for (ra::Index key = 0; key < (causal ? query + 1 : tokens); ++key) {
                const double weight = std::exp(key % 3 == 0 ? cap : -cap);
                sum += weight, output += weight * double(c.v(0, 0, key, 0));
            }
            CHECK(double(result.output(0, 0, query, 0)) ==
                  doctest::Approx(output / sum).epsilon(1e-5).scale(1));
            CHECK(double(result.log_sum_exp(0, 0, query)) == doctest::Approx(std::log(sum)).epsilon(1e-5));
            CHECK(gradient.query(0, 0, query, 0) == 0);
            CHECK(gradient.key(0, 0, query, 0) == 0);
            CHECK(std::isfinite(gradient.value(0, 0, query, 0)));
        }
    }
}

}  // namespace attention_not_finite
