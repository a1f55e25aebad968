// The same bits on any number of ranks and threads.

#include <limits>
#include <mutex>

#include <doctest/doctest.h>

#include <ring_attention/ring/thread/thread_ring.hpp>

#include "support/attention_on_ranks.hpp"
#include "support/num_threads.hpp"

namespace attention_ranks {

namespace {

namespace ra = ring_attention;
using support::AttentionCase;
using support::AttentionRun;
using support::Scores;

/// The ranks' results put together.
template <class T>
AttentionRun<T> run_on_ranks(const AttentionCase<T>& c, const ra::AttentionOptions& options, int ranks) {
    const ra::Tensor<T, 3> a_number_a_query(c.q.dimension(0), c.q.dimension(1), c.q.dimension(2));
    AttentionRun<T> whole{{c.q, a_number_a_query, a_number_a_query},
                          {c.q, c.q, c.q}};  // all to be written over
    std::mutex mutex;
    ra::ThreadRing::run(ranks, [&](ra::ThreadRing& ring) {
        const ra::Share share =
            ra::share(ring, ra::Index(c.shape.seq_len), options.num_chunks, options.layout);
        const AttentionRun<T> own = support::run_rank(c, options, ring);
        const std::lock_guard lock(mutex);
        ra::put_tokens(own.result.output, share, whole.result.output, 2);
        ra::put_tokens(own.result.log_sum_exp, share, whole.result.log_sum_exp, 2);
        ra::put_tokens(own.result.log_sum_exp_rest, share, whole.result.log_sum_exp_rest, 2);
        ra::put_tokens(own.gradient.query, share, whole.gradient.query, 2);
        ra::put_tokens(own.gradient.key, share, whole.gradient.key, 2);
        ra::put_tokens(own.gradient.value, share, whole.gradient.value, 2);
    });
    return whole;
}

template <class T>
void check_ranks(const oracle::AttentionShape& shape, Scores scores, const ra::AttentionOptions& options) {
    const AttentionCase<T> c(shape, scores);
    const auto alone = support::run(c, options);
    for (int ranks = 1; ranks <= options.num_chunks; ++ranks) {
        INFO(support::name_of(options.layout), ", ", shape.seq_len, " tokens, ", options.num_chunks,
             " chunks, ", ranks, " ranks, causal ", options.causal);
        CHECK(support::same_bits(run_on_ranks(c, options, ranks), alone));
    }
}

}  // namespace

TEST_CASE_TEMPLATE("attention: 1 to n ranks on n seats give the same bits", T, float, double) {
    support::for_each_small_case(check_ranks<T>);
}

TEST_CASE_TEMPLATE("attention: ranks give the same bits, whatever the scores", T, float, double) {
    support::for_each_scores_case(check_ranks<T>);
}

TEST_CASE("attention: ranks give the same bits, chunks longer than a tile") {
    support::for_each_long_case(check_ranks<float>);
}

TEST_CASE("attention: ranks give the same bits where a NaN stands") {
    AttentionCase<float> c({1, 2, 17, 4}, Scores::ordinary);
    c.k(0, 1, 9, 1) = std::numeric_limits<float>::quiet_NaN();
    c.v(0, 0, 16, 2) = std::numeric_limits<float>::infinity();
    for (const ra::Layout layout : support::every_layout) {
        const ra::AttentionOptions options{.num_chunks = 5, .layout = layout};
        const auto alone = support::run(c, options);
        for (const int ranks : {2, 3, 5}) {
            INFO(support::name_of(layout), ", ", ranks, " ranks");
            const auto together = run_on_ranks(c, options, ranks);
            // The sign and payload of a NaN that two operands could give is the processor's choice: compare
            // the rest.
            CHECK(compare::largest_difference(together.result.output, alone.result.output) == 0);
            CHECK(compare::largest_difference(together.gradient.query, alone.gradient.query) == 0);
            CHECK(compare::largest_difference(together.gradient.key, alone.gradient.key) == 0);
            CHECK(compare::largest_difference(together.gradient.value, alone.gradient.value) == 0);
        }
    }
}

TEST_CASE_TEMPLATE("attention: any number of threads gives the same bits", T, float, double) {
    for (const ra::Layout layout : support::every_layout)
        for (const bool causal : {true, false}) {
            INFO(support::name_of(layout), ", causal ", causal);
            const AttentionCase<T> c({3, 2, 141, 16}, Scores::ordinary);
            const ra::AttentionOptions options{.num_chunks = 2, .causal = causal, .layout = layout};
            const auto alone = [&] {
                const support::NumThreads one(1);
                return support::run(c, options);
            }();
            for (const int count : {1, 2, 3, 7}) {
                const support::NumThreads threads(count);
                CHECK(support::same_bits(support::run(c, options), alone));
                CHECK(support::same_bits(run_on_ranks(c, options, 2), alone));
            }
        }
}

}  // namespace attention_ranks
