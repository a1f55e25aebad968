#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <type_traits>
#include <vector>

#include <ring_attention/attention/operator.hpp>

#include "attention_oracle.hpp"
#include "compare.hpp"
#include "inputs.hpp"
#include "instances.hpp"
#include "tensors.hpp"

namespace support {

namespace ra = ring_attention;

/// What the scores of a test look like.
enum class Scores {
    ordinary,      ///< of the order of 1
    wide,          ///< up to +-1e4, so that nearly every weight is 0 or 1
    dominant_key,  ///< one key in the middle gets nearly all the weight of those that see it
    constant,      ///< all rows are equal, so are all weights
};

inline std::string name_of(Scores scores) {
    switch (scores) {
        case Scores::ordinary:
            return "ordinary";
        case Scores::wide:
            return "wide";
        case Scores::dominant_key:
            return "dominant key";
        default:
            return "constant";
    }
}

/// Arguments of the operator, [batch, heads, seq_len, head_dim].
template <class T>
struct AttentionCase {
    oracle::AttentionShape shape;
    Scores scores;
    ra::Tensor<T, 4> q, k, v, d_output;

    AttentionCase(const oracle::AttentionShape& of, Scores kind, std::uint64_t seed = 1)
        : shape(of), scores(kind) {
        const double deviation = scores == Scores::wide ? 50 : 1;
        q = tensors::normal<T>(extents(), 4 * seed, deviation);
        k = tensors::normal<T>(extents(), 4 * seed + 1, deviation);
        v = tensors::normal<T>(extents(), 4 * seed + 2);
        d_output = tensors::normal<T>(extents(), 4 * seed + 3);
        if (scores == Scores::constant)
            for (auto* tensor : {&q, &k, &v}) tensor->setConstant(tensor->data()[0]);
        if (scores == Scores::dominant_key)
            for (std::size_t row = 0; row < shape.num_rows(); ++row)
                for (std::size_t c = 0; c < shape.head_dim; ++c) {
                    q.data()[row * shape.head_dim + c] += T(1);
                    if (row % shape.seq_len == shape.seq_len / 2)
                        k.data()[row * shape.head_dim + c] = T(300 / std::sqrt(double(shape.head_dim)));
                }
    }

    std::array<ra::Index, 4> extents() const {
        return {ra::Index(shape.batch), ra::Index(shape.heads), ra::Index(shape.seq_len),
                ra::Index(shape.head_dim)};
    }
};

/// All that the operator computes.
template <class T>
struct AttentionRun {
    ra::AttentionResult<T> result;
    ra::AttentionGradient<T> gradient;
};

template <class T>
AttentionRun<T> run(const AttentionCase<T>& c, const ra::AttentionOptions& options) {
    AttentionRun<T> run;
    run.result = ra::attention(c.q, c.k, c.v, options);
    run.gradient = ra::attention_backward(c.d_output, c.q, c.k, c.v, run.result, options);
    return run;
}

template <class T>
bool same_bits(const AttentionRun<T>& a, const AttentionRun<T>& b) {
    return compare::same_bits(a.result.output, b.result.output) &&
           compare::same_bits(a.result.log_sum_exp, b.result.log_sum_exp) &&
           compare::same_bits(a.result.log_sum_exp_rest, b.result.log_sum_exp_rest) &&
           compare::same_bits(a.gradient.query, b.gradient.query) &&
           compare::same_bits(a.gradient.key, b.gradient.key) &&
           compare::same_bits(a.gradient.value, b.gradient.value);
}

/// The same in more precision: double for float, long double for double.
template <class T>
struct Expected {
    using R = std::conditional_t<std::is_same_v<T, float>, double, long double>;
    oracle::Attention<R> result;
    oracle::AttentionGradient<R> gradient;

    Expected(const AttentionCase<T>& c, bool causal) {
        const auto q = inputs::widen<R>(c.q), k = inputs::widen<R>(c.k), v = inputs::widen<R>(c.v);
        result = oracle::attention(q, k, v, c.shape, causal);
        gradient = oracle::attention_backward(inputs::widen<R>(c.d_output), q, k, v, c.shape, causal);
    }
};

/// The largest sum_c |a_c b_c| of a row of a and a row of b of the same head.
template <class T>
double largest_row_product(const ra::Tensor<T, 4>& a, const ra::Tensor<T, 4>& b,
                           const oracle::AttentionShape& shape) {
    double largest = 0;
    const std::size_t n = shape.seq_len, d = shape.head_dim;
    for (std::size_t i = 0; i < shape.num_rows(); ++i)
        for (std::size_t j = i / n * n; j < i / n * n + n; ++j) {
            double sum = 0;
            for (std::size_t c = 0; c < d; ++c)
                sum += std::abs(double(a.data()[i * d + c]) * double(b.data()[j * d + c]));
            largest = std::max(largest, sum);
        }
    return largest;
}

/// How far rounding may move each result.
///
/// A score is a sum of head_dim products: its error is a few epsilon times M = s sum |q_c k_c| (at worst
/// head_dim / 2 epsilon where all round the same way, as constant rows do), and the weight exp(score - max)
/// has that as its relative error. So the tolerance for ordinary scores (base, for M up to 8) grows with M,
/// and with the values that are averaged.
///
/// A gradient of q is s sum_j P (dP - D) k, where D = sum_j P dP. It is judged by the largest, as long as it
/// is no mere difference of equals: with one key, with one that has all the weight and with keys that are all
/// the same, dP = D, and what is left is the rounding of s max|d_output v| max|k|. The same goes for k.
template <class T>
struct Tolerance {
    double output, log_sum_exp, query, key, value;

    Tolerance(const AttentionCase<T>& c, const Expected<T>& expected) {
        const bool single = std::is_same_v<T, float>;
        const double base = single ? 2e-6 : 1e-13, gradient_base = single ? 1e-5 : 1e-13;
        const double scale = 1 / std::sqrt(double(c.shape.head_dim));
        const double largest_score = scale * largest_row_product(c.q, c.k, c.shape);
        const double growth = std::max(1.0, largest_score / 8);
        const bool cancels = c.scores != Scores::ordinary || c.shape.seq_len == 1;
        const double d_score = cancels ? scale * largest_row_product(c.d_output, c.v, c.shape) : 0;
        output = base * growth * std::max(1.0, compare::largest(c.v));
        const double epsilon = double(std::numeric_limits<T>::epsilon());
        log_sum_exp = base + (1 + double(c.shape.head_dim) / 8) * epsilon * largest_score;
        query = growth * (gradient_base * compare::largest(expected.gradient.query) +
                          2 * base * d_score * compare::largest(c.k));
        key = growth * (gradient_base * compare::largest(expected.gradient.key) +
                        2 * base * d_score * compare::largest(c.q));
        value = gradient_base * growth * compare::largest(expected.gradient.value);
    }
};

}  // namespace support
