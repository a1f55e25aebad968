#pragma once

// Attention as it is without further thought in bfloat16, which the library is not to be much worse than:
// inputs and weights are rounded, sums are float.

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <vector>

#include <doctest/doctest.h>

#include "attention_case.hpp"
#include "attention_oracle.hpp"
#include "bfloat16.hpp"
#include "sanitized.hpp"

namespace support {

struct PlainBfloat16 {
    std::vector<float> output, query, key, value;  // the last three are gradients

    PlainBfloat16(const AttentionCase<float>& c, bool causal)
        : output(c.shape.size()), query(output), key(output), value(output) {
        const ra::Tensor<float, 4> q = rounded(c.q), k = rounded(c.k), v = rounded(c.v),
                                   d_output = rounded(c.d_output);
        const std::size_t n = c.shape.seq_len, d = c.shape.head_dim;
        const float scale = 1 / std::sqrt(float(d));
        std::vector<float> weight(n), d_weight(n);
        for (std::size_t row = 0; row < c.shape.num_rows(); ++row) {
            const std::size_t head = row / n * n, seen = causal ? row % n + 1 : n;
            const auto at = [&](const ra::Tensor<float, 4>& x, std::size_t i) { return x.data() + i * d; };
            const auto product = [&](const float* a, const float* b) {
                float sum = 0;
                for (std::size_t i = 0; i < d; ++i) sum += a[i] * b[i];
                return sum;
            };
            const auto add = [&](float factor, const float* x, std::vector<float>& to, std::size_t i) {
                for (std::size_t j = 0; j < d; ++j) to[i * d + j] += factor * x[j];
            };
            float maximum = -std::numeric_limits<float>::infinity(), sum = 0, mean = 0;
            for (std::size_t j = 0; j < seen; ++j) {
                weight[j] = scale * product(at(q, row), at(k, head + j));
                maximum = std::max(maximum, weight[j]);
            }
            for (std::size_t j = 0; j < seen; ++j) sum += weight[j] = std::exp(weight[j] - maximum);
            for (std::size_t j = 0; j < seen; ++j) {
                weight[j] = rounded(weight[j] / sum);
                add(weight[j], at(v, head + j), output, row);
                add(weight[j], at(d_output, row), value, head + j);
                d_weight[j] = product(at(d_output, row), at(v, head + j));
                mean += weight[j] * d_weight[j];
            }
            for (std::size_t j = 0; j < seen; ++j) {
                const float d_score = scale * weight[j] * (d_weight[j] - mean);
                add(d_score, at(k, head + j), query, row);
                add(d_score, at(q, row), key, head + j);
            }
        }
    }
};

/// The root of the mean square of the differences, and the largest.
struct Errors {
    double mean = 0, largest = 0;

    template <class A, class R>
    Errors(const A& given, const std::vector<R>& expected) {
        for (std::size_t i = 0; i < expected.size(); ++i) {
            const double error = double(std::abs(R(given.data()[i]) - expected[i]));
            mean += error * error / double(expected.size());
            largest = std::max(largest, error);
        }
        mean = std::sqrt(mean);
    }
};

/// The errors of attention on bfloat16, output and gradients, against long double of what was not rounded: at
/// most `factor` times those of the plain way, beside what they may be in float.
inline void check_accuracy(const AttentionCase<float>& c, bool causal, double factor) {
    using R = long double;
    const auto q = inputs::widen<R>(c.q), k = inputs::widen<R>(c.k), v = inputs::widen<R>(c.v);
    const auto result = oracle::attention(q, k, v, c.shape, causal);
    const auto gradient = oracle::attention_backward(inputs::widen<R>(c.d_output), q, k, v, c.shape, causal);
    const PlainBfloat16 plain(c, causal);
    const AttentionRun<float> own = run(c, {.causal = causal, .storage = ra::Storage::bfloat16});
    const Tolerance<float> of_float(c, Expected<float>(c, causal));
    const auto check = [&](const char* name, const auto& of_own, const auto& of_plain, const auto& expected,
                           double allowed) {
        const Errors error(of_own, expected), most(of_plain, expected);
        CAPTURE(name);
        CHECK(error.mean <= factor * most.mean + allowed);
        CHECK(error.largest <= factor * most.largest + allowed);
        CHECK(error.largest <= std::numeric_limits<double>::max());
    };
    check("output", own.result.output, plain.output, result.output, of_float.output);
    check("gradient of q", own.gradient.query, plain.query, gradient.query, of_float.query);
    check("gradient of k", own.gradient.key, plain.key, gradient.key, of_float.key);
    check("gradient of v", own.gradient.value, plain.value, gradient.value, of_float.value);
}

inline void check_accuracy_of_many(double factor) {
    for (const std::size_t width : {64, 128})
        for (const Scores scores : {Scores::ordinary, Scores::dominant_key, Scores::constant})
            for (const bool causal : {false, true})
                for (const float mean : {0.0f, 2.0f}) {
                    if (mean > 0 && scores != Scores::ordinary) continue;
                    if (sanitized && (scores != Scores::ordinary || mean > 0 || !causal)) continue;
                    INFO("width ", width, ", ", name_of(scores), causal ? ", causal" : "", ", mean ", mean);
                    AttentionCase<float> c({1, 1, 331, width}, scores, 3);
                    for (ra::Index i = 0; i < c.v.size(); ++i) c.v.data()[i] += mean;
                    check_accuracy(c, causal, factor);
                }
}

}  // namespace support
