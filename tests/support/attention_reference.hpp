#pragma once

// Attention with all its options as they are defined, one query and one score at a time: no tiles, no chunks,
// no intervals, and nothing of the library. Beside every number stands how far rounding may move it.

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <vector>

#include "attention_problem.hpp"

namespace oracle {

/// The answer, and the error of each of its numbers to first order, in units of the relative error of one
/// operation.
template <class R>
struct ReferenceAttention {
    AttentionAnswer<R> answer, error;
};

/// The score as it is: what a user's own function is where there is none.
struct UnchangedScore {
    template <class R>
    R operator()(R score, Index, Index, Index, Index) const {
        return score;
    }
    template <class R>
    R derivative(R, Index, Index, Index, Index) const {
        return 1;
    }
};

namespace detail {

/// One key that a query sees, and the score s = f(cap(scale q k) + ALiBi + bias).
template <class R>
struct SeenKey {
    Index key;
    R score;
    R by_sum;      // ds / d what f is given
    R by_product;  // ds / d q k
    R score_error, by_product_error;
    R weight = 0;  // softmax(s)
};

template <class R>
R sum_of_products(const R* a, const R* b, Index size) {
    R sum = 0;
    for (Index i = 0; i < size; ++i) sum += a[i] * b[i];
    return sum;
}

template <class R>
R sum_of_magnitudes(const R* a, const R* b, Index size) {
    R sum = 0;
    for (Index i = 0; i < size; ++i) sum += std::abs(a[i] * b[i]);
    return sum;
}

/// What the error of a sum of so many products is in units of the sum of their magnitudes.
template <class R>
R error_of_sum(Index products) {
    return 1 + R(products) / 8;
}

template <class R, class Score>
class Reference {
  public:
    Reference(const AttentionProblem& problem, const AttentionNumbers<R>& numbers, const Score& score)
        : p_(problem), n_(numbers), score_(score) {
        scale_ = p_.scale != 0 ? R(p_.scale) : 1 / std::sqrt(R(p_.head_dim));
        for (auto* answer : {&result_.answer, &result_.error}) {
            const Index rows = p_.batch * p_.heads * p_.query_len;
            answer->output.assign(std::size_t(rows * p_.value_dim), R(0));
            answer->log_sum_exp.assign(std::size_t(rows), R(0));
            answer->d_query.assign(n_.query.size(), R(0));
            answer->d_key.assign(n_.key.size(), R(0));
            answer->d_value.assign(n_.value.size(), R(0));
            answer->d_bias.assign(n_.bias.size(), R(0));
            answer->d_sinks.assign(n_.sinks.size(), R(0));
        }
        for (Index b = 0; b < p_.batch; ++b)
            for (Index h = 0; h < p_.heads; ++h)
                for (Index i = 0; i < p_.query_len; ++i) query(b, h, i);
    }

    const ReferenceAttention<R>& result() const { return result_; }

  private:
    Index query_row(Index b, Index h, Index i) const { return (b * p_.heads + h) * p_.query_len + i; }

    Index key_row(Index b, Index h, Index j) const {
        const Index group = p_.heads / p_.key_value_heads;
        return (b * p_.key_value_heads + h / group) * p_.key_len + j;
    }

    Index bias_index(Index b, Index h, Index i, Index j) const {
        const Index head = (p_.bias_batch > 1 ? b : 0) * p_.bias_heads + (p_.bias_heads > 1 ? h : 0);
        return (head * p_.query_len + i) * p_.key_len + j;
    }

    SeenKey<R> seen_key(Index b, Index h, Index i, Index j) const {
        const Index d = p_.head_dim, position = p_.query_offset + i;
        const R *q = &n_.query[std::size_t(query_row(b, h, i) * d)],
                *k = &n_.key[std::size_t(key_row(b, h, j) * d)];

        R s = scale_ * sum_of_products(q, k, d);
        R error = error_of_sum<R>(d) * std::abs(scale_) * sum_of_magnitudes(q, k, d);
        R slope = 1, slope_error = 0;
        if (p_.softcap > 0) {
            const R cap = R(p_.softcap), t = std::tanh(s / cap), u = std::exp(-2 * std::abs(s / cap));
            slope = 4 * u / ((1 + u) * (1 + u));  // 1 - t^2, also where t is all but 1
            slope_error = 2 + 2 * slope / cap * error;
            error = slope * error + 2 * cap * std::abs(t);
            s = cap * t;
        }
        if (!n_.slopes.empty()) {
            const R added = n_.slopes[std::size_t(h)] * R(std::abs(position - j));
            s -= added;
            error += std::abs(added) + std::abs(s);
        }
        if (!n_.bias.empty()) {
            const R added = n_.bias[std::size_t(bias_index(b, h, i, j))];
            s += added;
            error += std::abs(added) + std::abs(s);
        }
        const R by_sum = score_.derivative(s, b, h, position, j);
        const R changed = score_(s, b, h, position, j);
        const R given_error = error + std::abs(s);
        return {j,
                changed,
                by_sum,
                by_sum * slope * scale_,
                std::abs(by_sum) * given_error + std::abs(changed),
                std::abs(scale_) * (std::abs(by_sum) * slope_error + given_error + std::abs(by_sum))};
    }

    void query(Index b, Index h, Index i) {
        const R infinity = std::numeric_limits<R>::infinity();
        std::vector<SeenKey<R>> keys;
        for (Index j = 0; j < p_.key_len; ++j) {
            if (!sees(b, p_.query_offset + i, j, p_)) continue;
            if (!n_.bias.empty() && n_.bias[std::size_t(bias_index(b, h, i, j))] == -infinity) continue;
            const SeenKey<R> key = seen_key(b, h, i, j);
            if (key.score != -infinity) keys.push_back(key);
        }

        // softmax
        const R sink = n_.sinks.empty() ? -infinity : n_.sinks[std::size_t(h)];
        R maximum = sink;
        for (const auto& key : keys) maximum = std::max(maximum, key.score);
        auto& log_sum_exp = result_.answer.log_sum_exp[std::size_t(query_row(b, h, i))];
        log_sum_exp = maximum;
        if (maximum == -infinity) return;
        R sum = std::exp(sink - maximum), error = std::abs(maximum) + error_of_sum<R>(Index(keys.size()));
        for (const auto& key : keys) sum += std::exp(key.score - maximum);
        log_sum_exp = maximum + std::log(sum);
        for (auto& key : keys) {
            key.weight = std::exp(key.score - log_sum_exp);
            error += key.weight * (key.score_error + 4);
        }
        result_.error.log_sum_exp[std::size_t(query_row(b, h, i))] = error + std::abs(log_sum_exp);
        outputs_and_gradients(b, h, i, keys, sink, log_sum_exp, error);
    }

    void outputs_and_gradients(Index b, Index h, Index i, const std::vector<SeenKey<R>>& keys, R sink,
                               R log_sum_exp, R log_sum_exp_error) {
        const Index d = p_.head_dim, width = p_.value_dim, row = query_row(b, h, i);
        const auto at = [](auto& numbers, Index first) { return numbers.data() + first; };
        const R *q = at(n_.query, row * d), *d_output = at(n_.d_output, row * width);
        R *output = at(result_.answer.output, row * width),
          *output_error = at(result_.error.output, row * width);

        // The relative error of a weight exp(s - log_sum_exp).
        const auto weight_error = [&](R score, R score_error) {
            return score_error + log_sum_exp_error + std::abs(score - log_sum_exp) + 4;
        };
        R mean = 0, mean_error = 0;  // of d_weight: what output and d_output give
        for (const auto& key : keys) {
            const R* v = at(n_.value, key_row(b, h, key.key) * width);
            for (Index c = 0; c < width; ++c) {
                output[c] += key.weight * v[c];
                output_error[c] += weight_error(key.score, key.score_error) * key.weight * std::abs(v[c]);
            }
        }
        for (Index c = 0; c < width; ++c) {
            mean += d_output[c] * output[c];
            mean_error +=
                std::abs(d_output[c]) * (output_error[c] + error_of_sum<R>(width) * std::abs(output[c]));
        }

        for (const auto& key : keys) {
            const Index key_at = key_row(b, h, key.key);
            const R *k = at(n_.key, key_at * d), *v = at(n_.value, key_at * width);
            const R d_weight = sum_of_products(d_output, v, width);
            const R d_weight_error = error_of_sum<R>(width) * sum_of_magnitudes(d_output, v, width);
            const R relative = weight_error(key.score, key.score_error);
            const R d_score = key.weight * (d_weight - mean);
            const R d_score_error = relative * std::abs(d_score) + key.weight * (d_weight_error + mean_error);
            const R d_product = key.by_product * d_score;
            const R d_product_error = std::abs(key.by_product) * d_score_error +
                                      key.by_product_error * std::abs(d_score) + 4 * std::abs(d_product);
            for (Index c = 0; c < d; ++c) {
                result_.answer.d_query[std::size_t(row * d + c)] += d_product * k[c];
                result_.error.d_query[std::size_t(row * d + c)] += d_product_error * std::abs(k[c]);
                result_.answer.d_key[std::size_t(key_at * d + c)] += d_product * q[c];
                result_.error.d_key[std::size_t(key_at * d + c)] += d_product_error * std::abs(q[c]);
            }
            for (Index c = 0; c < width; ++c) {
                const auto value = std::size_t(key_at * width + c);
                result_.answer.d_value[value] += key.weight * d_output[c];
                result_.error.d_value[value] += (relative + 4) * key.weight * std::abs(d_output[c]);
            }
            if (!n_.bias.empty()) {
                const auto place = std::size_t(bias_index(b, h, i, key.key));
                result_.answer.d_bias[place] += key.by_sum * d_score;
                result_.error.d_bias[place] += std::abs(key.by_sum) * d_score_error +
                                               key.by_product_error / std::abs(scale_) * std::abs(d_score);
            }
        }
        if (n_.sinks.empty() || sink == -std::numeric_limits<R>::infinity()) return;
        const R weight = std::exp(sink - log_sum_exp);
        result_.answer.d_sinks[std::size_t(h)] -= weight * mean;
        result_.error.d_sinks[std::size_t(h)] +=
            weight * (weight_error(sink, std::abs(sink)) * std::abs(mean) + mean_error);
    }

    const AttentionProblem& p_;
    const AttentionNumbers<R>& n_;
    const Score& score_;
    R scale_;
    ReferenceAttention<R> result_;
};

}  // namespace detail

/// output = softmax(s) value with s = f(softcap tanh(scale query key / softcap) - slope |distance| + bias),
/// over the keys that a query sees and the sink of its head; and the gradients of sum(output * d_output). A
/// query that sees nothing has output 0; its log_sum_exp is its sink, or -inf.
template <class R, class Score = UnchangedScore>
ReferenceAttention<R> reference_attention(const AttentionProblem& problem, const AttentionNumbers<R>& numbers,
                                          const Score& score = {}) {
    return detail::Reference<R, Score>(problem, numbers, score).result();
}

}  // namespace oracle
