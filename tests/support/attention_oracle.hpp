#pragma once

// Dense attention as it is defined, one score at a time: no tiles, no chunks, no online softmax and nothing
// of the library. R is double or long double, always wider than what is tested against it.

#include <cmath>
#include <cstddef>
#include <limits>
#include <vector>

namespace oracle {

/// Tensors are flat and row-major: [batch, heads, seq_len, head_dim], log_sum_exp is [batch, heads, seq_len].
struct AttentionShape {
    std::size_t batch = 1, heads = 1, seq_len = 1, head_dim = 1;

    std::size_t num_rows() const { return batch * heads * seq_len; }
    std::size_t size() const { return num_rows() * head_dim; }
};

template <class R>
struct Attention {
    std::vector<R> output, log_sum_exp;
};

template <class R>
struct AttentionGradient {
    std::vector<R> query, key, value;
};

namespace detail {

template <class R>
R dot(const R* a, const R* b, std::size_t size) {
    R sum = 0;
    for (std::size_t i = 0; i < size; ++i) sum += a[i] * b[i];
    return sum;
}

/// The keys that position `query` sees are 0 ... this - 1; the others are never read.
inline std::size_t num_seen(std::size_t query, const AttentionShape& shape, bool causal) {
    return causal ? query + 1 : shape.seq_len;
}

/// Scores s q k^T of one query against the keys that it sees; `keys` is the first key of its head.
template <class R>
std::vector<R> scores(const R* query, const R* keys, std::size_t seen, std::size_t head_dim, R scale) {
    std::vector<R> row(seen);
    for (std::size_t j = 0; j < seen; ++j) row[j] = scale * dot(query, keys + j * head_dim, head_dim);
    return row;
}

/// ln sum exp(scores), and -inf where every score is -inf.
template <class R>
R log_sum_exp(const std::vector<R>& scores) {
    R maximum = -std::numeric_limits<R>::infinity();
    for (const R score : scores)
        if (!(score <= maximum)) maximum = score;  // a NaN wins and stays
    if (maximum == -std::numeric_limits<R>::infinity()) return maximum;
    R sum = 0;
    for (const R score : scores) sum += std::exp(score - maximum);
    return maximum + std::log(sum);
}

/// softmax(scores), and 0 where every score is -inf.
template <class R>
std::vector<R> softmax(const std::vector<R>& scores) {
    const R normaliser = log_sum_exp(scores);
    std::vector<R> probabilities(scores.size(), R(0));
    if (normaliser == -std::numeric_limits<R>::infinity()) return probabilities;
    for (std::size_t j = 0; j < scores.size(); ++j) probabilities[j] = std::exp(scores[j] - normaliser);
    return probabilities;
}

}  // namespace detail

template <class R>
R default_scale(const AttentionShape& shape) {
    return R(1) / std::sqrt(R(shape.head_dim));
}

/// output_i = sum_j softmax_j(s q_i k_j) v_j over the keys j that i sees.
template <class R>
Attention<R> attention(const std::vector<R>& q, const std::vector<R>& k, const std::vector<R>& v,
                       const AttentionShape& shape, bool causal, R scale) {
    const std::size_t n = shape.seq_len, d = shape.head_dim;
    Attention<R> result{std::vector<R>(shape.size(), R(0)), std::vector<R>(shape.num_rows())};
    for (std::size_t head = 0; head < shape.batch * shape.heads; ++head)
        for (std::size_t i = 0; i < n; ++i) {
            const std::size_t row = head * n + i;
            const std::size_t seen = detail::num_seen(i, shape, causal);
            const auto scores = detail::scores(&q[row * d], &k[head * n * d], seen, d, scale);
            const auto probabilities = detail::softmax(scores);
            for (std::size_t j = 0; j < seen; ++j)
                for (std::size_t c = 0; c < d; ++c)
                    result.output[row * d + c] += probabilities[j] * v[(head * n + j) * d + c];
            result.log_sum_exp[row] = detail::log_sum_exp(scores);
        }
    return result;
}

template <class R>
Attention<R> attention(const std::vector<R>& q, const std::vector<R>& k, const std::vector<R>& v,
                       const AttentionShape& shape, bool causal) {
    return attention(q, k, v, shape, causal, default_scale<R>(shape));
}

/// The gradient of sum(output * d_output): with P = softmax(S) and dP = d_output V^T, the Jacobian of softmax
/// gives dS_ij = P_ij (dP_ij - sum_j' P_ij' dP_ij').
template <class R>
AttentionGradient<R> attention_backward(const std::vector<R>& d_output, const std::vector<R>& q,
                                        const std::vector<R>& k, const std::vector<R>& v,
                                        const AttentionShape& shape, bool causal, R scale) {
    const std::size_t n = shape.seq_len, d = shape.head_dim;
    const std::vector<R> zeros(shape.size(), R(0));
    AttentionGradient<R> gradient{zeros, zeros, zeros};
    for (std::size_t head = 0; head < shape.batch * shape.heads; ++head)
        for (std::size_t i = 0; i < n; ++i) {
            const std::size_t query = (head * n + i) * d, first_key = head * n * d;
            const std::size_t seen = detail::num_seen(i, shape, causal);
            const auto probabilities =
                detail::softmax(detail::scores(&q[query], &k[first_key], seen, d, scale));
            std::vector<R> d_probabilities(seen);
            R mean = 0;
            for (std::size_t j = 0; j < seen; ++j) {
                d_probabilities[j] = detail::dot(&d_output[query], &v[first_key + j * d], d);
                mean += probabilities[j] * d_probabilities[j];
            }
            for (std::size_t j = 0; j < seen; ++j) {
                const R d_score = probabilities[j] * (d_probabilities[j] - mean);
                for (std::size_t c = 0; c < d; ++c) {
                    gradient.query[query + c] += scale * d_score * k[first_key + j * d + c];
                    gradient.key[first_key + j * d + c] += scale * d_score * q[query + c];
                    gradient.value[first_key + j * d + c] += probabilities[j] * d_output[query + c];
                }
            }
        }
    return gradient;
}

template <class R>
AttentionGradient<R> attention_backward(const std::vector<R>& d_output, const std::vector<R>& q,
                                        const std::vector<R>& k, const std::vector<R>& v,
                                        const AttentionShape& shape, bool causal) {
    return attention_backward(d_output, q, k, v, shape, causal, default_scale<R>(shape));
}

}  // namespace oracle
