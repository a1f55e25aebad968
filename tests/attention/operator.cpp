// The operator against dense attention in more precision and against finite differences.

#include <doctest/doctest.h>

#include <ring_attention/attention/operator.hpp>

#include "support/attention_case.hpp"
#include "support/finite_differences.hpp"
#include "support/layouts.hpp"

namespace attention_operator {

namespace {

namespace ra = ring_attention;
using support::AttentionCase;
using support::Scores;

constexpr std::size_t head_dims[] = {1, 2, 3, 5, 8, 16, 31, 64, 65, 128, 256};
constexpr std::size_t seq_lens[] = {1, 2, 3, 7, 16, 31, 63, 64, 65, 97, 127, 128, 129};
constexpr Scores every_kind[] = {Scores::ordinary, Scores::wide, Scores::dominant_key, Scores::constant};

template <class T>
void check_against_oracle(const oracle::AttentionShape& shape, Scores scores,
                          const ra::AttentionOptions& options) {
    INFO(shape.batch, " x ", shape.heads, " x ", shape.seq_len, " x ", shape.head_dim, ", ",
         options.num_chunks, " chunks, ", support::name_of(options.layout), ", causal ", options.causal,
         ", scores ", support::name_of(scores));
    const AttentionCase<T> c(shape, scores, shape.seq_len + 1000 * shape.head_dim);
    const auto [result, gradient] = support::run(c, options);
    const support::Expected<T> expected(c, options.causal);
    const support::Tolerance<T> tolerance(c, expected);
    CHECK(compare::largest_difference(result.output, expected.result.output) <= tolerance.output);
    CHECK(compare::largest_difference(result.log_sum_exp, expected.result.log_sum_exp) <=
          tolerance.log_sum_exp);
    CHECK(compare::largest_difference(gradient.query, expected.gradient.query) <= tolerance.query);
    CHECK(compare::largest_difference(gradient.key, expected.gradient.key) <= tolerance.key);
    CHECK(compare::largest_difference(gradient.value, expected.gradient.value) <= tolerance.value);
}

}  // namespace

TEST_CASE_TEMPLATE("attention: every head_dim and length, all else in turn, agrees with the oracle", T, float,
                   double) {
    std::size_t turn = 0;
    for (const std::size_t head_dim : head_dims)
        for (const std::size_t seq_len : seq_lens) {
            const auto turn_chunks = ra::Index(turn % 8 == 7 ? seq_len : 1 + turn % 7);
            check_against_oracle<T>({1 + turn % 3, 1 + turn / 3 % 2, seq_len, head_dim}, every_kind[turn % 4],
                                    {.num_chunks = turn_chunks,
                                     .causal = turn / 4 % 2 == 0,
                                     .layout = support::every_layout[turn / 8 % 3]});
            ++turn;
        }
}

TEST_CASE_TEMPLATE("attention: every number of chunks and every length around them agrees with the oracle", T,
                   float, double) {
    std::size_t turn = 0;
    for (const Scores scores : every_kind)
        for (const bool causal : {true, false})
            for (const ra::Layout layout : support::every_layout) {
                const auto check = [&](std::size_t seq_len, std::size_t head_dim, ra::Index num_chunks) {
                    ++turn;
                    check_against_oracle<T>({1 + turn % 3, 1 + turn % 2, seq_len, head_dim}, scores,
                                            {.num_chunks = num_chunks, .causal = causal, .layout = layout});
                };
                for (ra::Index num_chunks = 1; num_chunks <= 14; ++num_chunks) check(11, 5, num_chunks);
                for (const ra::Index num_chunks : {2, 3, 5})  // chunks of 16 and one less, one more token
                    for (const ra::Index seq_len :
                         {16 * num_chunks - 1, 16 * num_chunks, 16 * num_chunks + 1})
                        check(std::size_t(seq_len), 7, num_chunks);
                for (const std::size_t seq_len : {127u, 129u, 131u})  // chunks around a tile of 64
                    check(seq_len, 4, 2);
                check(3, 4, 1000);
            }
}

TEST_CASE_TEMPLATE("attention: chunks of many tiles, in every layout, agree with the oracle", T, float,
                   double) {
    for (const ra::Layout layout : support::every_layout)
        for (const bool causal : {true, false}) {
            check_against_oracle<T>({1, 1, 331, 5}, Scores::ordinary,
                                    {.num_chunks = 3, .causal = causal, .layout = layout});
            check_against_oracle<T>({1, 1, 907, 3}, Scores::dominant_key,
                                    {.num_chunks = 2, .causal = causal, .layout = layout});
        }
}

TEST_CASE_TEMPLATE("attention: num_chunks and layout change a result by rounding only", T, float, double) {
    const AttentionCase<T> c({2, 2, 37, 16}, Scores::ordinary);
    const auto whole = support::run(c, {.num_chunks = 1});
    const support::Tolerance<T> tolerance(c, support::Expected<T>(c, true));
    for (const ra::Layout layout : support::every_layout) {
        bool other_bits = false, others_than_contiguous = false;
        for (const ra::Index num_chunks : {1, 2, 3, 4, 7, 36, 37, 50}) {
            INFO(num_chunks, " chunks, ", support::name_of(layout));
            const auto cut = support::run(c, {.num_chunks = num_chunks, .layout = layout});
            CHECK(compare::largest_difference(cut.result.output, whole.result.output) <= tolerance.output);
            CHECK(compare::largest_difference(cut.result.log_sum_exp, whole.result.log_sum_exp) <=
                  tolerance.log_sum_exp);
            CHECK(compare::largest_difference(cut.gradient.query, whole.gradient.query) <= tolerance.query);
            CHECK(compare::largest_difference(cut.gradient.key, whole.gradient.key) <= tolerance.key);
            CHECK(compare::largest_difference(cut.gradient.value, whole.gradient.value) <= tolerance.value);
            other_bits = other_bits || !support::same_bits(cut, whole);
            const bool as_contiguous = support::same_bits(cut, support::run(c, {.num_chunks = num_chunks}));
            if (num_chunks == 1 || num_chunks >= 37) CHECK(as_contiguous);  // all tokens at a seat, or one
            others_than_contiguous = others_than_contiguous || !as_contiguous;
        }
        CHECK(other_bits);  // else the chunks were not there
        CHECK(others_than_contiguous == (layout != ra::Layout::contiguous));
    }
}

TEST_CASE("attention: the first query sees one key, to the bit") {
    const AttentionCase<float> c({2, 3, 9, 5}, Scores::wide);
    const auto result = ra::attention(c.q, c.k, c.v, {.num_chunks = 4});
    CHECK(compare::same_bits(tensors::slice(result.output, 2, 0, 1), tensors::slice(c.v, 2, 0, 1)));
}

TEST_CASE("attention: the options by default are one chunk and causal") {
    const AttentionCase<float> c({1, 2, 6, 4}, Scores::ordinary);
    const auto result = ra::attention(c.q, c.k, c.v);
    const auto gradient = ra::attention_backward(c.d_output, c.q, c.k, c.v, result);
    CHECK(support::same_bits({result, gradient}, support::run(c, {.num_chunks = 1, .causal = true})));
}

TEST_CASE("attention: finite differences in double") {
    for (const bool causal : {true, false})
        for (const ra::Layout layout : support::every_layout) {
            INFO(support::name_of(layout), ", causal ", causal);
            AttentionCase<double> c({2, 1, 7, 3}, Scores::ordinary);
            const ra::AttentionOptions options{.num_chunks = 3, .causal = causal, .layout = layout};
            const auto loss = [&] {
                return support::inner_product(ra::attention(c.q, c.k, c.v, options).output, c.d_output);
            };
            const auto gradient = support::run(c, options).gradient;
            CHECK(support::gradient_error(c.q, gradient.query, loss) < 1e-9);
            CHECK(support::gradient_error(c.k, gradient.key, loss) < 1e-9);
            CHECK(support::gradient_error(c.v, gradient.value, loss) < 1e-9);
        }
}

}  // namespace attention_operator
