#include <cmath>
#include <limits>
#include <vector>

#include <doctest/doctest.h>

#include <ring_attention/layers/head_norm.hpp>

#include "support/compare.hpp"
#include "support/finite_differences.hpp"
#include "support/inputs.hpp"

namespace layers_head_norm {

namespace ra = ring_attention;

namespace {

/// Heads of two seats, [batch, heads, tokens, width]: at the first a token after the other, with a gap
/// between two, at the second a head after the other, as keys travel.
template <class T, ra::Index width>
struct Heads {
    static constexpr ra::Index batch = 2, heads = 3, stride = heads * width + 2;
    ra::Index tokens;
    std::vector<T> one, other;

    explicit Heads(ra::Index num_tokens, std::uint64_t seed)
        : tokens(num_tokens),
          one(inputs::normal<T>(std::size_t(batch * tokens * stride), seed)),
          other(inputs::normal<T>(std::size_t(batch * heads * tokens * width), seed + 1)) {}

    ra::SeatHeads<T> views() {
        return {ra::HeadsView<T>::token_by_token(one.data(), heads, tokens, width, stride),
                ra::HeadsView<T>::head_by_head(other.data(), heads, tokens, width)};
    }

    ra::SeatHeads<const T> views() const {
        return {ra::HeadsView<const T>::token_by_token(one.data(), heads, tokens, width, stride),
                ra::HeadsView<const T>::head_by_head(other.data(), heads, tokens, width)};
    }

    /// Calls f(row) for every head of every token.
    void for_each_row(auto&& f) const {
        for (const auto& seat : views())
            for (ra::Index b = 0; b < batch; ++b)
                for (ra::Index head = 0; head < heads; ++head)
                    for (ra::Index token = 0; token < tokens; ++token) f(seat.row(b, head, token));
    }
};

template <class T, ra::Index width>
ra::HeadNorm<T, width> random_norm() {
    ra::HeadNorm<T, width> norm;
    const auto gamma = inputs::normal<T>(std::size_t(width), 9);
    std::copy(gamma.begin(), gamma.end(), norm.gamma.data());
    return norm;
}

template <class T, ra::Index width>
void check_definition(double epsilon, double size) {
    CAPTURE(width);
    CAPTURE(size);
    const auto norm = random_norm<T, width>();
    Heads<T, width> heads(70, 1);
    for (auto* numbers : {&heads.one, &heads.other})
        for (T& number : *numbers) number *= T(size);
    const auto before = heads;
    std::vector<long double> expected, given;
    before.for_each_row([&](const T* x) {
        long double squares = 0;
        for (ra::Index i = 0; i < width; ++i) squares += static_cast<long double>(x[i]) * x[i];
        for (ra::Index i = 0; i < width; ++i)
            expected.push_back(norm.gamma[i] * (x[i] / std::sqrt(squares / width + epsilon)));
    });
    norm.forward(heads.views(), heads.batch, epsilon);
    heads.for_each_row([&](const T* y) { given.insert(given.end(), y, y + width); });
    CHECK(compare::largest_difference(given, expected) <=
          2 * std::numeric_limits<T>::epsilon() * compare::largest(expected));
    CHECK(heads.one[heads.heads * width] == before.one[heads.heads * width]);  // in the gap
}

template <ra::Index width>
void check_finite_differences(ra::Index tokens) {
    CAPTURE(width);
    CAPTURE(tokens);
    constexpr double epsilon = 0.1;
    using Norm = ra::HeadNorm<double, width>;
    Norm norm = random_norm<double, width>();
    Heads<double, width> x(tokens, 1);
    const Heads<double, width> d_y(tokens, 5);
    const auto loss = [&] {
        auto y = x;
        norm.forward(y.views(), x.batch, epsilon);
        double sum = 0;
        std::vector<double> numbers;
        y.for_each_row([&](const double* row) { numbers.insert(numbers.end(), row, row + width); });
        std::size_t at = 0;
        d_y.for_each_row([&](const double* row) {
            for (ra::Index i = 0; i < width; ++i) sum += row[i] * numbers[at++];
        });
        return sum;
    };
    auto d_x = d_y;
    Norm gradient;
    gradient.gamma.setConstant(3);  // to which it adds
    const ra::Index rows = x.batch * tokens;
    norm.backward(std::as_const(x).views(), d_x.views(), x.batch, epsilon,
                  ra::SeatGradients<Norm>(gradient, {{0, rows}, {rows, rows}}));
    for (ra::Index i = 0; i < d_x.batch * tokens; ++i)  // nobody's gradient is in the gaps
        std::fill_n(d_x.one.begin() + i * d_x.stride + d_x.heads * width, 2, 0.0);
    CHECK(support::gradient_error(x.one, d_x.one, loss) < 1e-8);
    CHECK(support::gradient_error(x.other, d_x.other, loss) < 1e-8);
    gradient.gamma.array() -= 3;
    CHECK(support::gradient_error(norm.gamma, gradient.gamma, loss) < 1e-8);
}

}  // namespace

TEST_CASE_TEMPLATE("head norm: every head is normalised as it is defined, wherever it lies", T, float,
                   double) {
    for (const double size : {1.0, 1e-3, 1e10}) {
        check_definition<T, 1>(1e-6, size);
        check_definition<T, 6>(1e-6, size);
        check_definition<T, 40>(0.5, size);
    }
}

TEST_CASE("head norm: finite differences") {
    check_finite_differences<1>(2);
    check_finite_differences<5>(3);
    check_finite_differences<2>(65);
}

TEST_CASE("head norm: begins as gamma 1, and a head of zeros stays so") {
    const ra::HeadNorm<float, 4> norm;
    CHECK(norm.gamma.isOnes(0));
    std::vector<float> zeros(4, 0.0f);
    norm.forward({ra::HeadsView<float>::head_by_head(zeros.data(), 1, 1, 4)}, 1, 1e-6);
    CHECK(zeros == std::vector<float>(4, 0.0f));
}

}  // namespace layers_head_norm
