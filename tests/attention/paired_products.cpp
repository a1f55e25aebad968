// Forward with products of pairs of bfloat16, whatever the processor: accuracy, every option, ranks, and what
// is not finite.

#define RING_ATTENTION_BFLOAT16_PRODUCTS 1

#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include <ring_attention/attention/operator.hpp>

#include "support/attention_case.hpp"
#include "support/attention_operator.hpp"
#include "support/bfloat16.hpp"
#include "support/compare.hpp"
#include "support/num_threads.hpp"
#include "support/plain_bfloat16.hpp"
#include "support/sanitized.hpp"

namespace {

namespace ra = ring_attention;
using support::AttentionCase;
using support::RandomAttention;

constexpr ra::Storage bfloat16 = ra::Storage::bfloat16;
constexpr std::uint64_t num_cases = support::num_cases(600);
constexpr float not_a_number = std::numeric_limits<float>::quiet_NaN();

/// Numbers that are of bfloat16 in the case, so that its weights alone are rounded; but for queries that a
/// cap divides: of these no large scores, where one rounding is no small error.
RandomAttention<float> rounded_case(std::uint64_t seed) {
    RandomAttention<float> c(seed, support::lacking_features());
    if (c.problem.softcap > 0) c = RandomAttention<float>(seed, {support::Feature::wide});
    for (auto* numbers : {&c.numbers.query, &c.numbers.key, &c.numbers.value})
        for (float& number : *numbers) number = support::rounded(number);
    return c;
}

/// The first part of the answer that is wrong. What is rounded is off by a factor of 1 + 2^-9 at most; the
/// oracle counts 4 errors of a weight or more. Queries that a cap divides are rounded too.
std::string difference(const RandomAttention<float>& c) {
    const double of_weights = 0x1p-10, allowed_errors = c.problem.softcap > 0 ? 4 * of_weights : of_weights;
    const auto [expected, error] = c.reference<double>();
    const oracle::AttentionAnswer<float> given = support::results_of(c, bfloat16).numbers();
    for (const auto part : oracle::parts_of_answer) {
        const auto &expected_part = oracle::part(expected, part), &error_part = oracle::part(error, part);
        const auto& given_part = oracle::part(given, part);
        for (std::size_t i = 0; i < expected_part.size(); ++i)
            if (!(compare::distance(given_part[i], expected_part[i]) <=
                  allowed_errors * error_part[i] + 1e-30))
                return std::string(oracle::name_of(part)) + "[" + std::to_string(i) + "] is " +
                       std::to_string(given_part[i]) + ", expected " + std::to_string(expected_part[i]) +
                       " +- " + std::to_string(allowed_errors * error_part[i]) + " in " + c.description();
    }
    return {};
}

}  // namespace

TEST_CASE("paired products: as accurate as can be expected of bfloat16") {
    support::check_accuracy_of_many(2);
}

TEST_CASE("paired products: random combinations of all options agree with the oracle") {
    const support::NumThreads one(1);
    for (std::uint64_t seed = 0; seed < num_cases; ++seed) {
        const RandomAttention<float> c = rounded_case(seed);
        if (support::is_refused(c)) continue;
        CAPTURE(seed);
        CHECK(difference(c) == "");
    }
}

TEST_CASE("paired products: random combinations give the same bits on several ranks") {
    for (std::uint64_t seed = 0; seed < num_cases; seed += 17) {
        const RandomAttention<float> c(seed, support::lacking_features());
        if (support::is_refused(c)) continue;
        CAPTURE(seed);
        const auto alone = [&] {
            const support::NumThreads one(1);
            return support::results_of(c, bfloat16);
        }();
        for (const int ranks : {2, 3, 7}) {
            if (ranks > c.num_chunks) break;
            CHECK(support::all_ranks_have_the_bits_of(alone, c, ranks, bfloat16));
        }
    }
}

TEST_CASE("paired products: an odd key width has the bits of rounded keys and values, an even one others") {
    for (const std::size_t width : {5, 6}) {
        CAPTURE(width);
        const AttentionCase<float> c({1, 2, 61, width}, support::Scores::ordinary);
        AttentionCase<float> before = c;
        before.k = support::rounded(c.k);
        before.v = support::rounded(c.v);
        CHECK(support::same_bits(support::run(c, {.storage = bfloat16}), support::run(before, {})) ==
              (width % 2 == 1));
    }
}

TEST_CASE("paired products: a key or value that is NaN touches no query that does not see it") {
    constexpr ra::Index seq_len = 331, width = 18, column = 17;
    const AttentionCase<float> c({1, 1, seq_len, width}, support::Scores::ordinary);
    const auto output = [](const AttentionCase<float>& of) {
        return ra::attention(of.q, of.k, of.v, {.storage = bfloat16}).output;
    };
    const ra::Tensor<float, 4> before = output(c);
    // The first and the second of a pair, at both ends of a tile of queries and of one of keys.
    for (const ra::Index position : {0, 1, 31, 32, 56, 57, 111, 112, 330})
        for (const bool of_key : {false, true}) {
            CAPTURE(position);
            CAPTURE(of_key);
            AttentionCase<float> wild = c;
            (of_key ? wild.k : wild.v)(0, 0, position, column) = not_a_number;
            const ra::Tensor<float, 4> after = output(wild);
            int wrong = 0;
            for (ra::Index query = 0; query < seq_len; ++query)
                for (ra::Index i = 0; i < width; ++i) {
                    const bool touched = query >= position && (of_key || i == column);
                    const float is = after(0, 0, query, i), was = before(0, 0, query, i);
                    // Another order of sums, in the columns of a value that has a NaN elsewhere.
                    const bool near = query >= position && std::abs(is - was) < 1e-5f;
                    wrong += touched ? !std::isnan(is) : !(is == was || near);
                }
            CHECK(wrong == 0);
        }
}
