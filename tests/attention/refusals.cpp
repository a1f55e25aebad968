// What does not fit is refused with a sentence that says what was given and what was expected, and nobody
// waits for ever.

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <limits>
#include <mutex>
#include <stdexcept>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include <ring_attention/attention/operator.hpp>
#include <ring_attention/ring/thread/thread_ring.hpp>

#include "support/error_message.hpp"
#include "support/tensors.hpp"

namespace attention_refusals {

namespace {

namespace ra = ring_attention;
using Shape = std::array<ra::Index, 4>;

ra::Tensor<float, 4> ones(const Shape& shape) {
    ra::Tensor<float, 4> tensor(shape);
    tensor.setConstant(1);
    return tensor;
}

constexpr Shape right{2, 3, 6, 4};

/// Of keys of this shape.
std::string expected_of_key(const Shape& wrong) {
    return wrong[1] != right[1] ? "divide the 3 of q" : "[2, 3, 6, 4]";
}

/// Every extent, one at a time, one too large.
template <class F>
void for_each_wrong_shape(const F& f) {
    for (std::size_t axis = 0; axis < 4; ++axis) {
        Shape wrong = right;
        ++wrong[axis];
        CAPTURE(axis);
        f(wrong, ra::shape_text(wrong));
    }
}

}  // namespace

TEST_CASE("attention refuses k and v whose shapes do not fit q") {
    const auto q = ones(right);
    for_each_wrong_shape([&](const Shape& wrong, const std::string& text) {
        // Keys may be more or fewer than queries, and values of another width.
        const bool key_len = wrong[2] != right[2], value_width = wrong[3] != right[3];
        if (!key_len) CHECK_REFUSES(ra::attention(q, ones(wrong), q), "k", text, expected_of_key(wrong));
        if (!value_width) CHECK_REFUSES(ra::attention(q, q, ones(wrong)), "v", text, "[2, 3, 6, 4]");
        if (key_len) CHECK_REFUSES(ra::attention(q, ones(wrong), q), "v", "[2, 3, 6, 4]", "[2, 3, 7, 4]");
    });
    CHECK_REFUSES(ra::attention(q, q, ones({2, 3, 6, 0})), "v", "[2, 3, 6, 0]", "[2, 3, 6, 1]");
}

TEST_CASE("attention refuses key-value heads that do not divide those of queries") {
    const auto q = ones({2, 6, 5, 4});
    for (const ra::Index heads : {4, 5, 7, 12}) {
        const auto k = ones({2, heads, 5, 4});
        CHECK_REFUSES(ra::attention(q, k, k), "k has shape [2, " + std::to_string(heads) + ", 5, 4]",
                      "divide the 6 of q");
    }
    const auto none = ones({2, 0, 5, 4});
    CHECK_REFUSES(ra::attention(q, none, none), "k has shape [2, 0, 5, 4]", "divide the 6 of q");
    for (const ra::Index heads : {1, 2, 3, 6}) {
        const auto k = ones({2, heads, 5, 4});
        CHECK_NOTHROW(ra::attention(q, k, k));
        const auto v = ones({2, heads == 6 ? 3 : 6, 5, 4});
        CHECK_REFUSES(ra::attention(q, k, v), "v has shape", "[2, " + std::to_string(heads) + ", 5, 4]");
    }
}

TEST_CASE("attention_backward refuses arguments of another shape than q") {
    const auto q = ones(right);
    const auto result = ra::attention(q, q, q);
    for_each_wrong_shape([&](const Shape& wrong, const std::string& text) {
        const auto other = ones(wrong);
        CHECK_REFUSES(ra::attention_backward(other, q, q, q, result), "d_output", text, "[2, 3, 6, 4]");
        const bool key_len = wrong[2] != right[2], value_width = wrong[3] != right[3];
        if (!key_len)
            CHECK_REFUSES(ra::attention_backward(q, q, other, q, result), "k", text, expected_of_key(wrong));
        if (!value_width)
            CHECK_REFUSES(ra::attention_backward(q, q, q, other, result), "v", text, "[2, 3, 6, 4]");
        else  // an output of the values' width is what is missing then
            CHECK_REFUSES(ra::attention_backward(q, q, q, other, result), "d_output has shape [2, 3, 6, 4]",
                          text);
        auto wrong_result = result;
        wrong_result.output = other;
        CHECK_REFUSES(ra::attention_backward(q, q, q, q, wrong_result), "output", text, "[2, 3, 6, 4]");
    });
    for (const auto& wrong : {std::array<ra::Index, 3>{3, 3, 6}, {2, 4, 6}, {2, 3, 5}}) {
        auto wrong_result = result;
        wrong_result.log_sum_exp.resize(wrong);
        CHECK_REFUSES(ra::attention_backward(q, q, q, q, wrong_result), "log_sum_exp", ra::shape_text(wrong),
                      "[2, 3, 6]");
        wrong_result = result;
        wrong_result.log_sum_exp_rest.resize(wrong);
        CHECK_REFUSES(ra::attention_backward(q, q, q, q, wrong_result), "log_sum_exp_rest",
                      ra::shape_text(wrong), "[2, 3, 6]");
    }
    CHECK_REFUSES(ra::attention_backward(q, q, q, q, ra::AttentionResult<float>{}), "output", "[2, 3, 6, 4]");
}

TEST_CASE("attention refuses a shape whose numbers cannot be counted") {
    const ra::Tensor<float, 4> q(ra::Index(1) << 61, 2, 2, 2);  // Eigen gives it no memory
    CHECK_REFUSES(ra::attention(q, q, q), "q has shape", "2305843009213693952");
}

TEST_CASE("attention refuses num_chunks below 1") {
    const auto q = ones(right);
    const auto result = ra::attention(q, q, q);
    for (const ra::Index num_chunks : {ra::Index(0), ra::Index(-1), std::numeric_limits<ra::Index>::min()}) {
        const std::string given = std::to_string(num_chunks);
        CHECK_REFUSES(ra::attention(q, q, q, {.num_chunks = num_chunks}), "num_chunks", given, "at least 1");
        CHECK_REFUSES(ra::attention_backward(q, q, q, q, result, {.num_chunks = num_chunks}), "num_chunks",
                      given, "at least 1");
    }
}

namespace {

/// Forward and backward, of what fits but for the options and terms.
void check_refused(const ra::AttentionOptions& options, const ra::AttentionTerms<float>& terms,
                   const std::vector<std::string>& words) {
    const auto q = ones(right);
    const auto result = ra::attention(q, q, q);
    const auto check = [&](auto&& f) {
        const std::string message = support::error_message(f);
        CAPTURE(message);
        CHECK(message != "no error");
        for (const std::string& word : words) {
            CAPTURE(word);
            CHECK(message.find(word) != std::string::npos);
        }
    };
    check([&] { ra::attention(q, q, q, options, terms); });
    check([&] { ra::attention_backward(q, q, q, q, result, options, terms); });
}

}  // namespace

TEST_CASE("attention refuses windows and prefixes below 0, and both together") {
    check_refused({.window = -1}, {}, {"window is -1", "at least 0"});
    check_refused({.causal = false, .window = std::numeric_limits<ra::Index>::min()}, {},
                  {"window", "at least 0"});
    check_refused({.prefix = -3}, {}, {"prefix is -3", "at least 0"});
    check_refused({.window = 2, .prefix = 1}, {}, {"both window and prefix", "expected one of them"});
}

TEST_CASE("attention refuses documents that do not begin with 0, do not rise or begin behind the keys") {
    check_refused({.document_starts = {1, 3}}, {}, {"document_starts[0] is 1", "expected 0"});
    check_refused({.document_starts = {-1, 3}}, {}, {"document_starts[0] is -1", "expected 0"});
    check_refused({.document_starts = {0, 3, 3}}, {}, {"document_starts[2] is 3", "more than", "3"});
    check_refused({.document_starts = {0, 4, 2}}, {}, {"document_starts[2] is 2", "more than", "4"});
    check_refused({.document_starts = {0, 6}}, {}, {"document_starts[1] is 6", "less than", "6"});
    check_refused({.document_starts = {0, 2, 100}}, {}, {"document_starts[2] is 100", "less than", "6"});
    // A document may begin behind the keys where queries stand there.
    const auto q = ones(right);
    CHECK_NOTHROW(ra::attention(q, q, q, {.document_starts = {0, 6}, .query_offset = 1}));
}

TEST_CASE("attention refuses lengths that are not one for each batch entry, or not of keys") {
    check_refused({.lengths = {3}}, {}, {"1 lengths", "expected one for each of 2 batch entries"});
    check_refused({.lengths = {3, 3, 3}}, {}, {"3 lengths", "expected one for each of 2 batch entries"});
    check_refused({.lengths = {6, 7}}, {}, {"lengths[1] is 7", "expected 0 to the number of keys, 6"});
    check_refused({.lengths = {-1, 6}}, {}, {"lengths[0] is -1", "expected 0 to the number of keys, 6"});
}

TEST_CASE("attention refuses factors that are negative or not finite") {
    constexpr double infinity = std::numeric_limits<double>::infinity(),
                     nan = std::numeric_limits<double>::quiet_NaN();
    for (const double factor : {-0.5, nan, infinity, -infinity}) {
        const std::string given = std::to_string(factor);
        check_refused({.scale = factor}, {}, {"scale is " + given, "expected a finite number of at least 0"});
        check_refused({.softcap = factor}, {},
                      {"softcap is " + given, "expected a finite number of at least 0"});
    }
    for (const double slope : {nan, infinity, -infinity})
        check_refused({.alibi_slopes = {1, slope, 2}}, {},
                      {"alibi_slope is " + std::to_string(slope), "expected a finite number"});
}

TEST_CASE("attention refuses slopes and sinks that are not one for each query head") {
    check_refused({.alibi_slopes = {1}}, {}, {"1 alibi_slopes", "expected one for each of 3 query heads"});
    check_refused({.alibi_slopes = {1, 1, 1, 1}}, {},
                  {"4 alibi_slopes", "expected one for each of 3 query heads"});
    for (const ra::Index count : {0, 1, 2, 4, 6}) {
        ra::Tensor<float, 1> sinks(count);
        sinks.setZero();
        check_refused({}, {.sinks = &sinks},
                      {"sinks has shape [" + std::to_string(count) + "], expected [3]"});
    }
}

TEST_CASE("attention refuses a bias that is not of the scores' shape") {
    for (std::size_t axis = 0; axis < 4; ++axis)
        for (const ra::Index more : {-1, 1}) {
            Shape wrong{2, 3, 6, 6};
            wrong[axis] += more;
            if (wrong[axis] == 1) continue;  // that is for all batch entries
            const auto bias = ones(wrong);
            check_refused({}, {.bias = &bias},
                          {"bias has shape " + ra::shape_text(wrong), "expected [2, 3, 6, 6]"});
        }
    for (const Shape& wrong : {Shape{1, 1, 6, 5}, {1, 1, 1, 6}, {1, 3, 6, 1}, {0, 3, 6, 6}, {2, 0, 6, 6}}) {
        const auto bias = ones(wrong);
        check_refused({}, {.bias = &bias}, {"bias has shape " + ra::shape_text(wrong), "expected ["});
    }
    const auto q = ones(right);
    for (const Shape& fits : {Shape{1, 1, 6, 6}, {2, 1, 6, 6}, {1, 3, 6, 6}, {2, 3, 6, 6}}) {
        const auto bias = ones(fits);
        CHECK_NOTHROW(ra::attention(q, q, q, {}, {.bias = &bias}));
    }
}

TEST_CASE("attention refuses a wrong option on several ranks, with the same sentence on each") {
    for (const int ranks : {2, 3}) {
        const auto q = ones({2, 2, 4, 2});
        for (const ra::AttentionOptions& wrong :
             {ra::AttentionOptions{.num_chunks = 3, .window = -1},
              ra::AttentionOptions{.num_chunks = 3, .document_starts = {0, 100}},
              ra::AttentionOptions{.num_chunks = 3, .lengths = {1, 2, 3}},
              ra::AttentionOptions{.num_chunks = 3, .alibi_slopes = {1}}}) {
            ra::AttentionOptions alone = wrong;
            alone.num_chunks = 1;
            const auto whole = ones({2, 2, 4 * ranks, 2});
            const std::string expected =
                support::error_message([&] { ra::attention(whole, whole, whole, alone); });
            CHECK(expected != "no error");
            std::atomic<int> same = 0;
            ra::ThreadRing::run(ranks, [&](ra::ThreadRing& ring) {
                ra::AttentionOptions options = wrong;
                options.num_chunks = ranks;
                same += support::error_message([&] { ra::attention(q, q, q, options, ring); }) == expected;
                same += ring.log().sent_on(ra::Channel::key_value).messages == 0;
            });
            CHECK(same == 2 * ranks);
        }
    }
}

TEST_CASE("attention refuses empty extents") {
    for (std::size_t axis = 0; axis < 4; ++axis) {
        CAPTURE(axis);
        Shape empty = right;
        empty[axis] = 0;
        const auto q = ones(empty);
        CHECK_REFUSES(ra::attention(q, q, q), "0", "at least 1");
        ra::AttentionResult<float> result{q, ra::Tensor<float, 3>(empty[0], empty[1], empty[2])};
        CHECK_REFUSES(ra::attention_backward(q, q, q, q, result), "0", "at least 1");
    }
    CHECK_REFUSES(ra::attention(ra::Tensor<float, 4>(), ra::Tensor<float, 4>(), ra::Tensor<float, 4>()),
                  "at least 1");
}

namespace {

/// Runs attention on ranks that each choose the number of tokens and chunks.
template <class Tokens, class Chunks>
void run_ranks(int ranks, const Tokens& tokens_of, const Chunks& chunks_of) {
    ra::ThreadRing::run(ranks, [&](ra::ThreadRing& ring) {
        const auto q = ones({1, 1, tokens_of(ring.rank()), 2});
        ra::attention(q, q, q, {.num_chunks = chunks_of(ring.rank())}, ring);
    });
}

}  // namespace

TEST_CASE("attention refuses more ranks than seats") {
    CHECK_REFUSES(run_ranks(
                      4, [](int) { return 2; }, [](int) { return 3; }),
                  "4 ranks", "3 seats");
    CHECK_REFUSES(run_ranks(
                      2, [](int) { return 2; }, [](int) { return 1; }),
                  "2 ranks", "1 seats");
}

TEST_CASE("attention refuses ranks that hold other tokens than their share") {
    CHECK_REFUSES(run_ranks(
                      2, [](int rank) { return rank == 0 ? 1 : 4; }, [](int) { return 2; }),
                  "rank 0", "1", "5", "expected 3");
    CHECK_REFUSES(run_ranks(
                      3, [](int) { return 0; }, [](int) { return 3; }),
                  "seq_len", "0", "at least 1");
}

// Each of these has shares and messages of the same size on both ranks: nothing but asking finds out.
TEST_CASE("attention refuses ranks that disagree") {
    const auto run_two = [](const Shape& first, const Shape& second,
                            const ra::AttentionOptions& first_options,
                            const ra::AttentionOptions& second_options) {
        ra::ThreadRing::run(2, [&](ra::ThreadRing& ring) {
            const auto q = ones(ring.rank() == 0 ? first : second);
            ra::attention(q, q, q, ring.rank() == 0 ? first_options : second_options, ring);
        });
    };
    const Shape shape{1, 1, 4, 2};
    const ra::AttentionOptions two{.num_chunks = 2};
    CHECK_REFUSES(run_two(shape, shape, two, {.num_chunks = 4}), "rank", "2", "4");
    CHECK_REFUSES(run_two(shape, shape, two, {.num_chunks = 3}), "rank");
    CHECK_REFUSES(run_two(shape, shape, two, {.num_chunks = 0}), "num_chunks", "0");
    CHECK_REFUSES(run_two(shape, shape, two, {.num_chunks = 2, .causal = false}), "rank", "causal");
    CHECK_REFUSES(run_two(shape, {2, 1, 4, 2}, two, two), "rank 1", "2", "1");
    CHECK_REFUSES(run_two(shape, {1, 1, 4, 3}, two, two), "rank");
    CHECK_REFUSES(run_two({2, 1, 4, 2}, {1, 2, 4, 2}, two, two), "rank");
    CHECK_REFUSES(run_two({1, 2, 4, 1}, {1, 1, 4, 2}, two, two), "rank");
}

TEST_CASE("attention: ranks that differ in any option all refuse it before anything travels") {
    const Shape shape{2, 2, 3, 4};
    const ra::AttentionOptions base{.num_chunks = 4};
    // What one rank has and the others have not, and a word for it.
    struct Other {
        std::string word;
        ra::AttentionOptions options;
        bool bias = false, sinks = false, function = false;
    };
    std::vector<Other> others{{"num_chunks", base},
                              {"layout", base},
                              {"causal", base},
                              {"window", base},
                              {"prefix", base},
                              {"document_starts", base},
                              {"lengths", base},
                              {"scale", base},
                              {"softcap", base},
                              {"query_offset", base},
                              {"alibi_slopes", base},
                              {"bias", base, true},
                              {"sinks", base, false, true},
                              {"score function", base, false, false, true}};
    others[0].options.num_chunks = 5;
    others[1].options.layout = ra::Layout::striped;
    others[2].options.causal = false;
    others[3].options.window = 2;
    others[4].options.prefix = 2;
    others[5].options.document_starts = {0, 2};
    others[6].options.lengths = {9, 8};
    others[7].options.scale = 0.25;
    others[8].options.softcap = 3;
    others[9].options.query_offset = 1;
    others[10].options.alibi_slopes = {1, 2};
    struct Twice {
        float value(float score, const ra::ScorePlace&) const { return 2 * score; }
        float derivative(float, const ra::ScorePlace&) const { return 2; }
    };
    for (const int ranks : {2, 3})
        for (int culprit = 0; culprit < ranks; ++culprit)
            for (const Other& other : others) {
                INFO(other.word, " of rank ", culprit, " of ", ranks);
                const auto q = ones(shape), bias = ones({2, 2, 3, 3 * ranks});
                ra::Tensor<float, 1> sinks(2);
                sinks.setZero();
                const Twice function;
                ra::AttentionTerms<float> terms;
                if (other.bias) terms.bias = &bias;
                if (other.sinks) terms.sinks = &sinks;
                if (other.function) terms.function = function;
                std::mutex mutex;
                std::vector<std::string> messages;
                std::uint64_t sent = 0;
                ra::ThreadRing::run(ranks, [&](ra::ThreadRing& ring) {
                    const bool is_culprit = ring.rank() == culprit;
                    const auto& options = is_culprit ? other.options : base;
                    const ra::AttentionTerms<float> own = is_culprit ? terms : ra::AttentionTerms<float>{};
                    const ra::AttentionResult<float> result{q, ra::Tensor<float, 3>(2, 2, 3)};
                    const auto refusal = [&](auto&& f) -> std::string {
                        try {
                            f();
                        } catch (const ra::RingError& error) {
                            return error.what();
                        }
                        return "no RingError";
                    };
                    const std::string forward = refusal([&] { ra::attention(q, q, q, options, own, ring); });
                    const std::string backward =
                        refusal([&] { ra::attention_backward(q, q, q, q, result, options, own, ring); });
                    const std::lock_guard lock(mutex);
                    messages.insert(messages.end(), {forward, backward});
                    for (const ra::Channel channel : {ra::Channel::key_value, ra::Channel::gradient})
                        sent += ring.log().sent_on(channel).messages;
                });
                CHECK(sent == 0);
                REQUIRE(messages.size() == 2 * std::size_t(ranks));
                CAPTURE(messages.front());
                CHECK(std::all_of(messages.begin(), messages.end(),
                                  [&](const std::string& text) { return text == messages.front(); }));
                CHECK(messages.front().find(other.word) != std::string::npos);
                CHECK(messages.front().find("rank 0") != std::string::npos);
            }
}

TEST_CASE("a rank with a wrong shape ends the others with its error") {
    for (int culprit = 0; culprit < 3; ++culprit)
        CHECK_REFUSES(ra::ThreadRing::run(3,
                                          [&](ra::ThreadRing& ring) {
                                              const auto q = ones({1, 1, 4, 2});
                                              const auto k = ones({1, 1, 4, ring.rank() == culprit ? 3 : 2});
                                              ra::attention(q, k, q, {.num_chunks = 3}, ring);
                                          }),
                      "k has shape [1, 1, 4, 3], expected [1, 1, 4, 2]");
}

TEST_CASE("a rank that throws, early or late, ends the others with that very error") {
    struct Mishap : std::runtime_error {
        using std::runtime_error::runtime_error;
    };
    for (const int ranks : {1, 2, 3, 5})
        for (int culprit = 0; culprit < ranks; ++culprit)
            for (const int rounds_before : {0, 1}) {
                const auto rank_main = [&](ra::ThreadRing& ring) {
                    const auto q = ones({1, 1, 4, 2});
                    for (int round = 0; round < 3; ++round) {
                        if (ring.rank() == culprit && round == rounds_before)
                            throw Mishap("the disk is full");
                        const auto result = ra::attention(q, q, q, {.num_chunks = ranks}, ring);
                        ra::attention_backward(q, q, q, q, result, {.num_chunks = ranks}, ring);
                    }
                };
                CHECK_THROWS_WITH_AS(ra::ThreadRing::run(ranks, rank_main), "the disk is full", Mishap);
            }
}

TEST_CASE("a rank that leaves early is an error, not a wait") {
    const auto rank_main = [](ra::ThreadRing& ring) {
        if (ring.rank() == 1) return;
        const auto q = ones({1, 1, 4, 2});
        ra::attention(q, q, q, {.num_chunks = 3}, ring);
    };
    CHECK_REFUSES(ra::ThreadRing::run(3, rank_main), "rank 1", "ended");
}

}  // namespace attention_refusals
