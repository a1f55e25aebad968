#include <limits>
#include <string>
#include <string_view>
#include <vector>

#include <doctest/doctest.h>

#include <ring_attention/layers/rms_norm.hpp>

#include "support/layer_case.hpp"
#include "support/layer_oracle.hpp"

namespace layers_rms_norm {

namespace ra = ring_attention;

namespace {

constexpr ra::NormOptions one_plus{ra::NormKind::rms_one_plus, 1e-6f};

template <class Norm>
std::vector<long double> factor(const Norm& norm) {
    auto factor = inputs::widen<long double>(norm.gamma);
    for (auto& number : factor) number += Norm::one_plus ? 1 : 0;
    return factor;
}

template <class Norm>
void check_definition() {
    using R = long double;
    using T = typename Norm::Scalar;
    Norm norm;
    support::randomise(norm);
    const double unit = double(std::numeric_limits<T>::epsilon());
    for (const double size : {1.0, 1e-3, 1e4}) {  // at 1e-3 epsilon is as large as the squares
        auto x = inputs::normal<T>(40 * 23, 1);
        for (T& value : x) value *= T(size);
        const auto wide = inputs::widen<R>(x);
        support::check_forward(norm, wide, oracle::rms_norm(wide, factor(norm), R(1e-6L)), 10 * unit);
    }
}

}  // namespace

TEST_CASE("rms norm: finite differences") {
    support::check_layer<ra::RmsNorm<double, 5>>({.batch = 2, .seq_len = 3, .num_seats = 2});
    support::check_layer<ra::RmsNorm<double, 1, ra::NormOptions{ra::NormKind::rms, 0.5f}>>(
        {.batch = 1, .seq_len = 3});
    support::check_layer<ra::RmsNorm<double, 5, one_plus>>({.batch = 1, .seq_len = 7, .num_seats = 3});
}

TEST_CASE_TEMPLATE("rms norm: agrees with its definition", T, float, double) {
    check_definition<ra::RmsNorm<T, 23>>();
    check_definition<ra::RmsNorm<T, 23, one_plus>>();
}

TEST_CASE("rms norm: a row of zeros gives zeros, and a row that floats cannot square is normalised") {
    const ra::RmsNorm<float, 4> norm;
    CHECK(norm.forward(ra::Matrix<float>::Zero(1, 4), nullptr).isZero(0));
    const ra::Matrix<float> huge = ra::Matrix<float>::Constant(1, 4, 1e30f);
    CHECK(norm.forward(huge, nullptr).isOnes(0));
}

TEST_CASE("rms norm: begins as a factor of 1, and has gamma alone") {
    const ra::RmsNorm<float, 6> norm;
    const ra::RmsNorm<float, 6, one_plus> gemma;
    CHECK(norm.gamma.isOnes(0));
    CHECK(gemma.gamma.isZero(0));
    const ra::Matrix<float> x = support::normal_matrix(3, 6, 1).cast<float>();
    CHECK(compare::same_bits(norm.forward(x, nullptr), gemma.forward(x, nullptr)));
    std::vector<std::string> names;
    ra::for_each_parameter(norm, [&](std::string_view name, auto&) { names.emplace_back(name); });
    CHECK(names == std::vector<std::string>{"gamma"});
}

}  // namespace layers_rms_norm
