#include <doctest/doctest.h>

#include <ring_attention/layers/layer_norm.hpp>

#include "support/layer_case.hpp"
#include "support/layer_oracle.hpp"

namespace layers_layer_norm {

namespace ra = ring_attention;

TEST_CASE("layer norm: finite differences") {
    support::check_layer<ra::LayerNorm<double, 5>>({.batch = 2, .seq_len = 3, .num_seats = 1});
    support::check_layer<ra::LayerNorm<double, 8>>({.batch = 1, .seq_len = 7, .num_seats = 3});
    support::check_layer<ra::LayerNorm<double, 1>>({.batch = 1, .seq_len = 2, .num_seats = 1});
    support::check_layer<ra::LayerNorm<double, 5, ra::NormOptions{ra::NormKind::layer, 0.5f}>>(
        {.batch = 2, .seq_len = 2});
}

TEST_CASE_TEMPLATE("layer norm: agrees with its definition, near 0 and far from it", T, float, double) {
    using R = long double;
    ra::LayerNorm<T, 23> norm;
    support::randomise(norm);
    const double epsilon = double(std::numeric_limits<T>::epsilon());
    for (const double offset : {0.0, 1.0, -1000.0}) {
        auto x = inputs::normal<T>(40 * 23, 1);
        for (T& value : x) value += T(offset);
        const auto expected = oracle::layer_norm(inputs::widen<R>(x), inputs::widen<R>(norm.gamma),
                                                 inputs::widen<R>(norm.beta));
        support::check_forward(norm, inputs::widen<R>(x), expected,
                               50 * epsilon * (1 + std::abs(offset) / 5));
    }
}

TEST_CASE_TEMPLATE("layer norm: a constant row gives beta, a tiny one counts epsilon", T, float, double) {
    using R = long double;
    ra::LayerNorm<T, 4> norm;
    support::randomise(norm);
    const auto beta = inputs::widen<R>(norm.beta), gamma = inputs::widen<R>(norm.gamma);
    support::check_forward(norm, std::vector<R>{2, 2, 2, 2}, beta, 1e-30);
    support::check_forward(norm, std::vector<R>{0, 0, 0, 0}, beta, 1e-30);
    // The deviation of this row is sqrt(epsilon): without epsilon the result would be 1.4 times as large.
    const R h = std::sqrt(1e-5L);
    const std::vector<R> row{h, -h, h, -h};
    support::check_forward(norm, row, oracle::layer_norm(row, gamma, beta), 1e-6);
}

TEST_CASE("layer norm: epsilon is an option, and is meant as it is written") {
    using R = long double;
    ra::LayerNorm<double, 4, ra::NormOptions{ra::NormKind::layer, 1e-12f}> norm;
    support::randomise(norm);
    const std::vector<R> row{1e-6L, -1e-6L, 1e-6L, -1e-6L};
    support::check_forward(
        norm, row,
        oracle::layer_norm(row, inputs::widen<R>(norm.gamma), inputs::widen<R>(norm.beta), R(1e-12L)), 1e-14);
    static_assert(ra::LayerNorm<float, 4>::epsilon == 1e-5);
}

TEST_CASE("layer norm: begins as gamma 1, beta 0") {
    const ra::LayerNorm<float, 6> norm;
    CHECK(norm.gamma.isOnes(0));
    CHECK(norm.beta.isZero(0));
}

}  // namespace layers_layer_norm
