#pragma once

// The layers of the model between its attentions, as they are defined. Values are rows of a flat row-major
// matrix [tokens, width]; backward functions add into the gradients that they are given and return the
// gradient of the input.

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <numbers>
#include <vector>

namespace oracle {

/// y = x kernel + bias; the widths are those of bias and kernel.
template <class R>
std::vector<R> dense(const std::vector<R>& x, const std::vector<R>& kernel, const std::vector<R>& bias) {
    const std::size_t out = bias.size(), in = kernel.size() / out, tokens = x.size() / in;
    std::vector<R> y(tokens * out);
    for (std::size_t t = 0; t < tokens; ++t)
        for (std::size_t o = 0; o < out; ++o) {
            y[t * out + o] = bias[o];
            for (std::size_t i = 0; i < in; ++i) y[t * out + o] += x[t * in + i] * kernel[i * out + o];
        }
    return y;
}

template <class R>
std::vector<R> dense_backward(const std::vector<R>& d_y, const std::vector<R>& x,
                              const std::vector<R>& kernel, std::vector<R>& d_kernel,
                              std::vector<R>& d_bias) {
    const std::size_t out = d_bias.size(), in = kernel.size() / out, tokens = x.size() / in;
    std::vector<R> d_x(x.size(), R(0));
    for (std::size_t t = 0; t < tokens; ++t)
        for (std::size_t o = 0; o < out; ++o) {
            const R d = d_y[t * out + o];
            d_bias[o] += d;
            for (std::size_t i = 0; i < in; ++i) {
                d_kernel[i * out + o] += x[t * in + i] * d;
                d_x[t * in + i] += kernel[i * out + o] * d;
            }
        }
    return d_x;
}

/// x - mean(x) of every row divided by its standard deviation (biased, with epsilon), and that divisor.
template <class R>
struct Normalised {
    std::vector<R> values, deviation;
};

template <class R>
Normalised<R> normalise(const std::vector<R>& x, std::size_t width, R epsilon = R(1e-5L)) {
    Normalised<R> normalised{x, std::vector<R>(x.size() / width)};
    for (std::size_t t = 0; t < normalised.deviation.size(); ++t) {
        R* row = &normalised.values[t * width];
        R mean = 0, variance = 0;
        for (std::size_t i = 0; i < width; ++i) mean += row[i] / R(width);
        for (std::size_t i = 0; i < width; ++i) variance += (row[i] - mean) * (row[i] - mean) / R(width);
        normalised.deviation[t] = std::sqrt(variance + epsilon);
        for (std::size_t i = 0; i < width; ++i) row[i] = (row[i] - mean) / normalised.deviation[t];
    }
    return normalised;
}

template <class R>
std::vector<R> layer_norm(const std::vector<R>& x, const std::vector<R>& gamma, const std::vector<R>& beta,
                          R epsilon = R(1e-5L)) {
    std::vector<R> y = normalise(x, gamma.size(), epsilon).values;
    for (std::size_t i = 0; i < y.size(); ++i) y[i] = y[i] * gamma[i % gamma.size()] + beta[i % gamma.size()];
    return y;
}

/// With g = d_y gamma and n the normalised row: d_x = (g - mean(g) - n mean(g n)) / deviation.
template <class R>
std::vector<R> layer_norm_backward(const std::vector<R>& d_y, const std::vector<R>& x,
                                   const std::vector<R>& gamma, std::vector<R>& d_gamma,
                                   std::vector<R>& d_beta) {
    const std::size_t width = gamma.size();
    const auto [n, deviation] = normalise(x, width);
    std::vector<R> d_x(x.size());
    for (std::size_t t = 0; t < deviation.size(); ++t) {
        const std::size_t row = t * width;
        R mean_g = 0, mean_gn = 0;
        for (std::size_t i = 0; i < width; ++i) {
            d_beta[i] += d_y[row + i];
            d_gamma[i] += d_y[row + i] * n[row + i];
            mean_g += d_y[row + i] * gamma[i] / R(width);
            mean_gn += d_y[row + i] * gamma[i] * n[row + i] / R(width);
        }
        for (std::size_t i = 0; i < width; ++i)
            d_x[row + i] = (d_y[row + i] * gamma[i] - mean_g - n[row + i] * mean_gn) / deviation[t];
    }
    return d_x;
}

/// factor x / sqrt(mean(x^2) + epsilon) of every row.
template <class R>
std::vector<R> rms_norm(std::vector<R> x, const std::vector<R>& factor, R epsilon) {
    const std::size_t width = factor.size();
    for (std::size_t row = 0; row < x.size(); row += width) {
        R mean = 0;
        for (std::size_t i = row; i < row + width; ++i) mean += x[i] * x[i] / R(width);
        for (std::size_t i = 0; i < width; ++i) x[row + i] *= factor[i] / std::sqrt(mean + epsilon);
    }
    return x;
}

/// x Phi(x), Phi the normal distribution function.
template <class R>
std::vector<R> gelu(std::vector<R> x) {
    for (R& value : x) value *= (1 + std::erf(value / std::numbers::sqrt2_v<R>)) / 2;
    return x;
}

/// d/dx x Phi(x) = Phi(x) + x phi(x)
template <class R>
std::vector<R> gelu_backward(std::vector<R> d_y, const std::vector<R>& x) {
    for (std::size_t i = 0; i < x.size(); ++i) {
        const R distribution = (1 + std::erf(x[i] / std::numbers::sqrt2_v<R>)) / 2;
        const R density = std::exp(-x[i] * x[i] / 2) / std::sqrt(2 * std::numbers::pi_v<R>);
        d_y[i] *= distribution + x[i] * density;
    }
    return d_y;
}

/// x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2.
template <class R>
std::vector<R> gelu_tanh(std::vector<R> x) {
    for (R& value : x)
        value *= (1 + std::tanh(std::sqrt(2 / std::numbers::pi_v<R>) *
                                (value + R(0.044715L) * value * value * value))) /
                 2;
    return x;
}

/// x / (1 + exp(-x)).
template <class R>
std::vector<R> silu(std::vector<R> x) {
    for (R& value : x) value /= 1 + std::exp(-value);
    return x;
}

/// max(x, 0).
template <class R>
std::vector<R> relu(std::vector<R> x) {
    for (R& value : x) value = std::max(value, R(0));
    return x;
}

/// Inverted dropout: what is kept (mask 1) is divided by 1 - rate. It is its own backward.
template <class R>
std::vector<R> dropout(std::vector<R> x, const std::vector<std::uint8_t>& mask, double rate) {
    for (std::size_t i = 0; i < x.size(); ++i) x[i] = mask[i] != 0 ? x[i] / (1 - R(rate)) : R(0);
    return x;
}

template <class R>
std::vector<R> multiply(std::vector<R> a, const std::vector<R>& b) {
    for (std::size_t i = 0; i < a.size(); ++i) a[i] *= b[i];
    return a;
}

template <class R>
std::vector<R> add(std::vector<R> a, const std::vector<R>& b) {
    for (std::size_t i = 0; i < a.size(); ++i) a[i] += b[i];
    return a;
}

}  // namespace oracle
