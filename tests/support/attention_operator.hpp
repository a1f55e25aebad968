#pragma once

// The random cases given to the library: the one place that knows how the operator is called.

#include <array>
#include <atomic>
#include <cstddef>
#include <set>
#include <vector>

#include <ring_attention/attention/operator.hpp>
#include <ring_attention/ring/local_ring.hpp>
#include <ring_attention/ring/thread/thread_ring.hpp>
#include <ring_attention/sequence/scatter.hpp>

#include "attention_random.hpp"
#include "compare.hpp"
#include "instances.hpp"
#include "layouts.hpp"
#include "tensors.hpp"

namespace support {

namespace ra = ring_attention;

/// What the operator is given, and by its backward half: of a whole sequence, or of the tokens of a rank.
template <class T>
struct Operands {
    ra::Tensor<T, 4> q, k, v, d_output;
    ra::Tensor<T, 4> bias;         // [1 or batch, 1 or heads, tokens of q, all keys]; of size 0: none
    std::vector<T> slopes, sinks;  // [heads]; empty: none
};

template <class T>
struct Results {
    ra::Tensor<T, 4> output, d_query, d_key, d_value, d_bias;
    ra::Tensor<T, 3> log_sum_exp;
    std::vector<T> d_sinks;

    oracle::AttentionAnswer<T> numbers() const {
        const auto flat = [](const auto& tensor) {
            return std::vector<T>(tensor.data(), tensor.data() + tensor.size());
        };
        return {flat(output),  flat(log_sum_exp), flat(d_query), flat(d_key),
                flat(d_value), flat(d_bias),      d_sinks};
    }
};

template <class T>
Operands<T> operands_of(const RandomAttention<T>& c) {
    const auto& p = c.problem;
    const auto tensor = [](const std::vector<T>& numbers, std::array<ra::Index, 4> shape) {
        return numbers.empty() ? ra::Tensor<T, 4>() : tensors::filled<T>(shape, numbers);
    };
    return {tensor(c.numbers.query, {p.batch, p.heads, p.query_len, p.head_dim}),
            tensor(c.numbers.key, {p.batch, p.key_value_heads, p.key_len, p.head_dim}),
            tensor(c.numbers.value, {p.batch, p.key_value_heads, p.key_len, p.value_dim}),
            tensor(c.numbers.d_output, {p.batch, p.heads, p.query_len, p.value_dim}),
            tensor(c.numbers.bias, {p.bias_batch, p.bias_heads, p.query_len, p.key_len}),
            c.numbers.slopes,
            c.numbers.sinks};
}

/// What of a whole sequence is a rank's.
template <class T>
Operands<T> part_of(const Operands<T>& whole, const ra::Share& queries, const ra::Share& keys) {
    return {ra::tokens_of(whole.q, queries, 2),
            ra::tokens_of(whole.k, keys, 2),
            ra::tokens_of(whole.v, keys, 2),
            ra::tokens_of(whole.d_output, queries, 2),
            whole.bias.size() > 0 ? ra::tokens_of(whole.bias, queries, 2) : whole.bias,
            whole.slopes,
            whole.sinks};
}

template <class T>
Results<T> part_of(const Results<T>& whole, const ra::Share& queries, const ra::Share& keys) {
    return {ra::tokens_of(whole.output, queries, 2),
            ra::tokens_of(whole.d_query, queries, 2),
            ra::tokens_of(whole.d_key, keys, 2),
            ra::tokens_of(whole.d_value, keys, 2),
            whole.d_bias.size() > 0 ? ra::tokens_of(whole.d_bias, queries, 2) : whole.d_bias,
            ra::tokens_of(whole.log_sum_exp, queries, 2),
            whole.d_sinks};
}

template <class T>
bool same_bits(const Results<T>& a, const Results<T>& b) {
    return compare::same_bits(a.output, b.output) && compare::same_bits(a.log_sum_exp, b.log_sum_exp) &&
           compare::same_bits(a.d_query, b.d_query) && compare::same_bits(a.d_key, b.d_key) &&
           compare::same_bits(a.d_value, b.d_value) && compare::same_bits(a.d_bias, b.d_bias) &&
           compare::same_bits(a.d_sinks, b.d_sinks);
}

/// What the library says that it does not do.
template <class T>
bool is_refused(const RandomAttention<T>& c) {
    return c.has(Feature::window) && c.has(Feature::prefix);
}

/// The features that the library lacks.
inline std::set<Feature> lacking_features() {
    return {};
}

template <class T>
ra::AttentionOptions options_of(const RandomAttention<T>& c) {
    const auto& p = c.problem;
    return {.num_chunks = c.num_chunks,
            .causal = p.causal,
            .layout = every_layout[c.layout],
            .window = p.window,
            .prefix = p.prefix,
            .document_starts = p.document_starts,
            .lengths = p.lengths,
            .scale = p.scale,
            .softcap = p.softcap,
            .query_offset = p.query_offset,
            .alibi_slopes = {c.numbers.slopes.begin(), c.numbers.slopes.end()}};
}

/// The oracle's score function as the library takes it.
template <class T>
struct ScoreFunctionOf {
    OwnScore own;

    T value(T score, const ra::ScorePlace& at) const {
        return own(score, at.batch, at.head, at.query, at.key);
    }
    T derivative(T score, const ra::ScorePlace& at) const {
        return own.derivative(score, at.batch, at.head, at.query, at.key);
    }
};

/// Attention of the case, forward and backward, on the tokens of this rank.
template <class T>
Results<T> results_of(const RandomAttention<T>& c, const Operands<T>& operands, auto& ring,
                      ra::Storage storage = ra::Storage::computing) {
    const auto& [q, k, v, d_output, bias, slopes, sinks] = operands;
    ra::AttentionOptions options = options_of(c);
    options.storage = storage;
    const ScoreFunctionOf<T> function{c.own_score};
    ra::Tensor<T, 1> sink_tensor(ra::Index(sinks.size()));
    std::copy(sinks.begin(), sinks.end(), sink_tensor.data());
    ra::AttentionTerms<T> terms;
    if (c.has(Feature::bias)) terms.bias = &bias;  // also of a rank without queries
    if (!sinks.empty()) terms.sinks = &sink_tensor;
    if (c.has_own_score) terms.function = function;
    const auto result = ra::attention(q, k, v, options, terms, ring);
    const auto gradient = ra::attention_backward(d_output, q, k, v, result, options, terms, ring);
    return {result.output,
            gradient.query,
            gradient.key,
            gradient.value,
            gradient.bias,
            result.log_sum_exp,
            {gradient.sinks.data(), gradient.sinks.data() + gradient.sinks.size()}};
}

/// Whether this rank's part of the case, computed by all ranks of the ring, has the bits of the whole
/// computed by one.
template <class T>
bool has_the_bits_of(const Results<T>& alone, const RandomAttention<T>& c, auto& ring,
                     ra::Storage storage = ra::Storage::computing) {
    const auto share = [&](ra::Index tokens) {
        return ra::share(ring, tokens, c.num_chunks, every_layout[c.layout]);
    };
    const ra::Share queries = share(c.problem.query_len), keys = share(c.problem.key_len);
    const Results<T> own = results_of(c, part_of(operands_of(c), queries, keys), ring, storage);
    return same_bits(own, part_of(alone, queries, keys));
}

/// The same of every rank of a ring of so many threads.
template <class T>
bool all_ranks_have_the_bits_of(const Results<T>& alone, const RandomAttention<T>& c, int ranks,
                                ra::Storage storage) {
    std::atomic<int> same = 0;
    ra::ThreadRing::run(ranks,
                        [&](ra::ThreadRing& ring) { same += has_the_bits_of(alone, c, ring, storage); });
    return same == ranks;
}

/// All of the case on one rank.
template <class T>
Results<T> results_of(const RandomAttention<T>& c, ra::Storage storage = ra::Storage::computing) {
    ra::LocalRing ring;
    return results_of(c, operands_of(c), ring, storage);
}

}  // namespace support
