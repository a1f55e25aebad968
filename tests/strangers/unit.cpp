// A unit of a program whose units are compiled with different flags: attention and its gradient on tensors of
// its own, against a plain reference; with FORWARD_ONLY, attention alone. NAME is the name of the one
// function to be seen from outside.

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <vector>

#include <ring_attention/attention/operator.hpp>

namespace {

namespace ra = ring_attention;

constexpr std::ptrdiff_t tokens = 37, width = 20;

struct Case {
    std::vector<double> query, key, value, d_output;
    std::vector<double> output, d_query, d_key, d_value;

    Case() {
        double next = 0.3;
        for (auto* each : {&query, &key, &value, &d_output})
            for (std::ptrdiff_t i = 0; i < tokens * width; ++i) {
                next = 3.7 * next * (1 - next);  // as good as random
                each->push_back(double(float(2 * next - 1)));
            }
        for (auto* each : {&output, &d_query, &d_key, &d_value}) each->assign(query.size(), 0.0);
        for (std::ptrdiff_t i = 0; i < tokens; ++i) attend(i);
    }

    static double dot(const std::vector<double>& a, std::ptrdiff_t i, const std::vector<double>& b,
                      std::ptrdiff_t j) {
        double sum = 0;
        for (std::ptrdiff_t d = 0; d < width; ++d)
            sum += a[std::size_t(i * width + d)] * b[std::size_t(j * width + d)];
        return sum;
    }

    static void add(std::vector<double>& to, std::ptrdiff_t i, double factor, const std::vector<double>& from,
                    std::ptrdiff_t j) {
        for (std::ptrdiff_t d = 0; d < width; ++d)
            to[std::size_t(i * width + d)] += factor * from[std::size_t(j * width + d)];
    }

    void attend(std::ptrdiff_t i) {
        const double scale = 1 / std::sqrt(double(width));
        std::vector<double> weight;
        double sum = 0, mean = 0;
        for (std::ptrdiff_t j = 0; j <= i; ++j) {
            weight.push_back(std::exp(scale * dot(query, i, key, j)));
            sum += weight.back();
        }
        for (double& each : weight) each /= sum;
        for (std::ptrdiff_t j = 0; j <= i; ++j) {
            add(output, i, weight[std::size_t(j)], value, j);
            mean += weight[std::size_t(j)] * dot(d_output, i, value, j);
        }
        for (std::ptrdiff_t j = 0; j <= i; ++j) {
            const double d_score = scale * weight[std::size_t(j)] * (dot(d_output, i, value, j) - mean);
            add(d_value, j, weight[std::size_t(j)], d_output, i);
            add(d_query, i, d_score, key, j);
            add(d_key, j, d_score, query, i);
        }
    }
};

using Tensor = ra::Tensor<float, 4>;

Tensor tensor(const std::vector<double>& numbers) {
    Tensor made(1, 1, tokens, width);
    for (std::size_t i = 0; i < numbers.size(); ++i) made.data()[i] = float(numbers[i]);
    return made;
}

double difference(const Tensor& given, const std::vector<double>& expected) {
    double largest = 0;
    for (std::size_t i = 0; i < expected.size(); ++i)
        largest = std::max(largest, std::abs(double(given.data()[i]) - expected[i]));
    return largest;
}

}  // namespace

extern "C" __attribute__((visibility("default"))) double NAME() {
    const Case expected;
    const Tensor query = tensor(expected.query), key = tensor(expected.key), value = tensor(expected.value),
                 d_output = tensor(expected.d_output);
    const ra::AttentionOptions options{.num_chunks = 3};
    const auto result = ra::attention(query, key, value, options);
#if defined(FORWARD_ONLY)
    return difference(result.output, expected.output);
#else
    const auto gradient = ra::attention_backward(d_output, query, key, value, result, options);
    return std::max({difference(result.output, expected.output), difference(gradient.query, expected.d_query),
                     difference(gradient.key, expected.d_key), difference(gradient.value, expected.d_value)});
#endif
}
