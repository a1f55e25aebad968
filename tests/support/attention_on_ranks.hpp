#pragma once

#include <utility>

#include <ring_attention/attention/operator.hpp>
#include <ring_attention/sequence/scatter.hpp>

#include "attention_case.hpp"
#include "layouts.hpp"
#include "sanitized.hpp"

// Attention on several ranks, whatever they are: what one of them computes, and on which cases they must give
// the bits that one alone gives.

namespace support {

/// What one rank of a ring computes with its own tokens alone.
template <class T>
AttentionRun<T> run_rank(const AttentionCase<T>& c, const ra::AttentionOptions& options, auto& ring) {
    const auto share = ra::share(ring, ra::Index(c.shape.seq_len), options.num_chunks, options.layout);
    const auto own = [&](const ra::Tensor<T, 4>& whole) { return ra::tokens_of(whole, share, 2); };
    const auto q = own(c.q), k = own(c.k), v = own(c.v), d_output = own(c.d_output);
    AttentionRun<T> run;
    run.result = ra::attention(q, k, v, options, ring);
    run.gradient = ra::attention_backward(d_output, q, k, v, run.result, options, ring);
    return run;
}

/// What of a whole run is this rank's.
template <class T>
AttentionRun<T> part_of(const AttentionRun<T>& whole, const ra::Share& share) {
    AttentionRun<T> part;
    part.result.output = ra::tokens_of(whole.result.output, share, 2);
    part.result.log_sum_exp = ra::tokens_of(whole.result.log_sum_exp, share, 2);
    part.result.log_sum_exp_rest = ra::tokens_of(whole.result.log_sum_exp_rest, share, 2);
    part.gradient.query = ra::tokens_of(whole.gradient.query, share, 2);
    part.gradient.key = ra::tokens_of(whole.gradient.key, share, 2);
    part.gradient.value = ra::tokens_of(whole.gradient.value, share, 2);
    return part;
}

/// check(shape, scores, options) on few tokens: of every layout and number of chunks, with seats that are
/// empty.
void for_each_small_case(auto&& check) {
    // Backward, what travels does so in up to 4 parts, by heads of batch entries: there are parts of 1, and
    // of 2 and 1.
    constexpr std::pair<std::size_t, std::size_t> heads_of_batch[] = {{2, 2}, {1, 5}, {1, 1}, {3, 1}};
    std::size_t turn = 0;
    for (const ra::Layout layout : every_layout)
        for (const bool causal : {true, false})
            for (const ra::Index num_chunks : {1, 2, 3, 4, 5, 8})
                for (const std::size_t seq_len : {1u, 2u, 5u, 13u, 32u}) {
                    const auto& [batch, heads] = heads_of_batch[turn % 4];
                    if (!takes(turn++)) continue;
                    check(oracle::AttentionShape{batch, heads, seq_len, 5}, Scores::ordinary,
                          ra::AttentionOptions{.num_chunks = num_chunks, .causal = causal, .layout = layout});
                }
}

/// The same on all kinds of scores.
void for_each_scores_case(auto&& check) {
    for (const Scores scores : {Scores::wide, Scores::dominant_key, Scores::constant})
        for (const ra::Layout layout : every_layout)
            for (const bool causal : {true, false})
                check(oracle::AttentionShape{1, 5, 23, 8}, scores,
                      ra::AttentionOptions{.num_chunks = 6, .causal = causal, .layout = layout});
}

/// The same on chunks that are longer than a tile.
void for_each_long_case(auto&& check) {
    for (const ra::Layout layout : every_layout)
        for (const bool causal : {true, false})
            check(oracle::AttentionShape{1, 1, 331, 16}, Scores::ordinary,
                  ra::AttentionOptions{.num_chunks = 3, .causal = causal, .layout = layout});
}

}  // namespace support
