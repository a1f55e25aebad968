// What does not fit is refused with a sentence that says what was given and what was expected, and nobody
// waits for ever.

#include <stdexcept>
#include <string>

#include <doctest/doctest.h>

#include <ring_attention/attention/operator.hpp>
#include <ring_attention/ring/thread/thread_ring.hpp>

#include "support/error_message.hpp"
#include "support/tensors.hpp"

namespace {

namespace ra = ring_attention;
using Shape = std::array<ra::Index, 4>;

ra::Tensor<float, 4> ones(const Shape& shape) {
    ra::Tensor<float, 4> tensor(shape);
    tensor.setConstant(1);
    return tensor;
}

constexpr Shape right{2, 3, 6, 4};

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

TEST_CASE("attention refuses k and v of another shape than q") {
    const auto q = ones(right);
    for_each_wrong_shape([&](const Shape& wrong, const std::string& text) {
        CHECK_REFUSES(ra::attention(q, ones(wrong), q), "k", text, "[2, 3, 6, 4]");
        CHECK_REFUSES(ra::attention(q, q, ones(wrong)), "v", text, "[2, 3, 6, 4]");
    });
}

TEST_CASE("attention_backward refuses arguments of another shape than q") {
    const auto q = ones(right);
    const auto result = ra::attention(q, q, q);
    for_each_wrong_shape([&](const Shape& wrong, const std::string& text) {
        const auto other = ones(wrong);
        CHECK_REFUSES(ra::attention_backward(other, q, q, q, result), "d_output", text, "[2, 3, 6, 4]");
        CHECK_REFUSES(ra::attention_backward(q, q, other, q, result), "k", text, "[2, 3, 6, 4]");
        CHECK_REFUSES(ra::attention_backward(q, q, q, other, result), "v", text, "[2, 3, 6, 4]");
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
