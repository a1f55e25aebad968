#include <cmath>
#include <mutex>
#include <vector>

#include <doctest/doctest.h>

#include <ring_attention/ring/thread/thread_ring.hpp>
#include <ring_attention/sequence/scatter.hpp>
#include <ring_attention/training/cross_entropy.hpp>

#include "support/compare.hpp"
#include "support/error_message.hpp"
#include "support/layouts.hpp"
#include "support/tensors.hpp"

namespace training_cross_entropy {

namespace ra = ring_attention;

namespace {

constexpr ra::Index batch = 2, seq_len = 7, vocabulary = 5;

ra::Tensor<ra::Token, 2> some_targets(ra::Index tokens = seq_len) {
    ra::Tensor<ra::Token, 2> targets(batch, tokens);
    for (ra::Index i = 0; i < targets.size(); ++i)
        targets.data()[i] = i % 4 == 1 ? ra::ignored_target : ra::Token(i * 3 % vocabulary);
    return targets;
}

/// The definition.
double mean_loss(const ra::Tensor<double, 3>& logits, const ra::Tensor<ra::Token, 2>& targets) {
    double total = 0;
    int count = 0;
    for (ra::Index b = 0; b < batch; ++b)
        for (ra::Index t = 0; t < seq_len; ++t) {
            if (targets(b, t) == ra::ignored_target) continue;
            double sum = 0;
            for (ra::Index j = 0; j < vocabulary; ++j) sum += std::exp(logits(b, t, j));
            total += std::log(sum) - logits(b, t, targets(b, t));
            ++count;
        }
    return total / count;
}

}  // namespace

TEST_CASE("the mean runs over the tokens that count, and the gradient is that of the mean") {
    const auto targets = some_targets();
    auto logits = tensors::normal<double>(std::array<ra::Index, 3>{batch, seq_len, vocabulary}, 1, 2);
    const auto result = ra::cross_entropy(logits, targets);
    CHECK(result.count == 10);
    CHECK(result.loss == doctest::Approx(mean_loss(logits, targets)).epsilon(1e-14));
    for (ra::Index i = 0; i < logits.size(); ++i) {
        const double at = logits.data()[i], h = 1e-5;
        logits.data()[i] = at + h;
        const double above = mean_loss(logits, targets);
        logits.data()[i] = at - h;
        const double below = mean_loss(logits, targets);
        logits.data()[i] = at;
        CHECK(std::abs((above - below) / (2 * h) - result.d_logits.data()[i]) < 1e-10);
    }
}

TEST_CASE("large logits do not overflow") {
    ra::Tensor<float, 3> logits(1, 1, 3);
    logits.setValues({{{1e4f, -1e4f, 1e4f}}});
    ra::Tensor<ra::Token, 2> targets(1, 1);
    targets(0, 0) = 0;
    CHECK(ra::cross_entropy(logits, targets).loss == doctest::Approx(std::log(2.0)));
    targets(0, 0) = 1;
    CHECK(ra::cross_entropy(logits, targets).loss == doctest::Approx(2e4 + std::log(2.0)));
}

TEST_CASE("no token counts: loss 0, gradient 0") {
    ra::Tensor<float, 3> logits(1, 2, 3);
    logits.setConstant(1);
    ra::Tensor<ra::Token, 2> targets(1, 2);
    targets.setConstant(ra::ignored_target);
    const auto result = ra::cross_entropy(logits, targets);
    CHECK(result.loss == 0);
    CHECK(result.count == 0);
    CHECK(compare::largest(result.d_logits) == 0);
}

TEST_CASE("any number of ranks gives the same bits, whoever has which tokens") {
    constexpr ra::Index tokens = 97;  // enough for the order of a plain sum to show
    const auto logits = tensors::normal<float, 3>({batch, tokens, vocabulary}, 2);
    const auto targets = some_targets(tokens);
    const auto whole = ra::cross_entropy(logits, targets);
    for (const ra::Layout layout : support::every_layout)
        for (const int ranks : {1, 2, 3, 7}) {
            INFO(support::name_of(layout), ", ", ranks, " ranks");
            std::vector<double> losses(static_cast<std::size_t>(ranks));
            auto d_logits = logits;
            std::mutex mutex;
            ra::ThreadRing::run(ranks, [&](ra::ThreadRing& ring) {
                const ra::Share share = ra::share(ring, tokens, 7, layout);
                const auto mine =
                    ra::cross_entropy(ra::tokens_of(logits, share), ra::tokens_of(targets, share), ring);
                losses[std::size_t(ring.rank())] = mine.loss;
                const std::lock_guard lock(mutex);
                ra::put_tokens(mine.d_logits, share, d_logits);
            });
            for (const double loss : losses) CHECK(loss == whole.loss);
            CHECK(compare::same_bits(d_logits, whole.d_logits));
        }
}

TEST_CASE("losses beyond all measure make the mean infinite") {
    ra::Tensor<double, 3> logits(1, 2, 2);
    ra::Tensor<ra::Token, 2> targets(1, 2);
    targets.setZero();
    logits.setValues({{{0.0, 3e15}, {0.0, 0.0}}});
    CHECK(ra::cross_entropy(logits, targets).loss == std::numeric_limits<double>::infinity());
    logits.setValues({{{-1e300, 1e300}, {0.0, 0.0}}});
    CHECK(ra::cross_entropy(logits, targets).loss == std::numeric_limits<double>::infinity());
    logits.setValues({{{std::nan(""), 0.0}, {0.0, 0.0}}});
    CHECK(std::isnan(ra::cross_entropy(logits, targets).loss));
}

TEST_CASE("targets that do not fit are refused") {
    ra::Tensor<float, 3> logits(1, 2, 3);
    logits.setZero();
    ra::Tensor<ra::Token, 2> longer(1, 3), wrong(1, 2);
    longer.setZero();
    wrong.setConstant(3);
    CHECK_REFUSES(ra::cross_entropy(logits, longer), "targets", "[1, 3]", "[1, 2]");
    CHECK_REFUSES(ra::cross_entropy(logits, wrong), "target 3", "0 to 2");
}

}  // namespace training_cross_entropy
