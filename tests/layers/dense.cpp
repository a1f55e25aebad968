#include <string>
#include <string_view>
#include <vector>

#include <doctest/doctest.h>

#include <ring_attention/layers/copy_parameters.hpp>
#include <ring_attention/layers/dense.hpp>

#include "support/layer_case.hpp"
#include "support/layer_oracle.hpp"

namespace layers_dense {

namespace ra = ring_attention;

TEST_CASE("dense: finite differences") {
    support::check_layer<ra::Dense<double, 5, 3>>({.batch = 2, .seq_len = 4, .num_seats = 1});
    support::check_layer<ra::Dense<double, 3, 7>>({.batch = 1, .seq_len = 7, .num_seats = 3});
    support::check_layer<ra::Dense<double, 1, 1>>({.batch = 1, .seq_len = 1, .num_seats = 2});
    support::check_layer<ra::Dense<double, 4, 2>>({.batch = 1, .seq_len = 70, .num_seats = 1});
    support::check_layer<ra::Dense<double, 5, 3, false>>({.batch = 2, .seq_len = 4, .num_seats = 2});
}

TEST_CASE_TEMPLATE("dense: x kernel + bias, every row for itself", T, float, double) {
    using R = long double;
    for (const std::size_t tokens : {1u, 2u, 63u, 64u, 65u, 200u}) {
        const auto x = inputs::normal<T>(tokens * 31, 1);
        ra::Dense<T, 31, 17> dense;
        support::randomise(dense);
        const auto expected =
            oracle::dense(inputs::widen<R>(x), inputs::widen<R>(dense.kernel), inputs::widen<R>(dense.bias));
        support::check_forward(dense, inputs::widen<R>(x), expected, std::is_same_v<T, float> ? 1e-5 : 2e-14);
    }
}

TEST_CASE("dense: begins at 0") {
    const ra::Dense<float, 3, 2> dense;
    CHECK((dense.kernel.rows() == 3 && dense.kernel.cols() == 2 && dense.bias.size() == 2));
    CHECK((dense.kernel.isZero(0) && dense.bias.isZero(0)));
}

TEST_CASE("dense: without a bias there is no such parameter, and nothing is added") {
    ra::Dense<float, 3, 2, false> dense;
    support::randomise(dense);
    std::vector<std::string> names;
    ra::for_each_parameter(dense, [&](std::string_view name, auto&) { names.emplace_back(name); });
    CHECK(names == std::vector<std::string>{"kernel"});
    CHECK(ra::parameter_count(dense) == 6);

    ra::Dense<float, 3, 2> with_0;
    with_0.kernel = dense.kernel;
    ra::Matrix<float> x = support::normal_matrix(5, 3, 1).cast<float>();
    CHECK(compare::same_bits(dense.forward(x, nullptr), with_0.forward(x, nullptr)));
}

TEST_CASE_TEMPLATE("dense: a kernel kept as bfloat16 gives the bits of the same, widened", T, float, double) {
    ra::Dense<T, 31, 170> dense;
    ra::Dense<T, 31, 170, true, ra::Storage::bfloat16> narrow;
    support::randomise(dense);
    ra::copy_parameters(dense, narrow);
    ra::copy_parameters(narrow, dense);
    for (const ra::Index tokens : {1, 2, 30, 200}) {
        const ra::Matrix<T> x = support::normal_matrix(tokens, 31, 1).cast<T>();
        ra::Matrix<T> sums = ra::Matrix<T>::Zero(tokens, 170);
        CHECK(compare::same_bits(narrow.forward(x, nullptr), dense.forward(x, nullptr)));
        narrow.add_forward(x, nullptr, ra::detail::view(sums));
        CHECK(compare::same_bits(sums, dense.forward(x, nullptr)));
    }
}

}  // namespace layers_dense
