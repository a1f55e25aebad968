#include <cmath>

#include <doctest/doctest.h>

#include <ring_attention/layers/gelu.hpp>

#include "support/layer_case.hpp"
#include "support/layer_oracle.hpp"

namespace layers_gelu {

namespace ra = ring_attention;

TEST_CASE("gelu: finite differences") {
    support::check_layer<ra::Gelu<double, 5>>({.batch = 2, .seq_len = 3, .num_seats = 1});
    support::check_layer<ra::Gelu<double, 1>>({.batch = 1, .seq_len = 7, .num_seats = 3});
}

TEST_CASE_TEMPLATE("gelu: the exact form, from -40 to 40", T, float, double) {
    using R = long double;
    std::vector<R> x;
    for (int i = -4000; i <= 4000; ++i) x.push_back(R(T(i) / T(100)));
    // Relative to |x| for large x, and the tail at large -x is tiny: an absolute tolerance of |x| epsilon.
    support::check_forward(ra::Gelu<T, 1>{}, x, oracle::gelu(x),
                           40 * double(std::numeric_limits<T>::epsilon()));
    const auto near_0 = inputs::widen<R>(inputs::normal<T>(1000, 1));
    support::check_forward(ra::Gelu<T, 1>{}, near_0, oracle::gelu(near_0),
                           4 * double(std::numeric_limits<T>::epsilon()));
}

TEST_CASE("gelu: not its approximation by tanh") {
    const ra::Gelu<double, 1> gelu;
    CHECK(gelu.forward(ra::Matrix<double>::Constant(1, 1, 1.0), nullptr)(0, 0) ==
          doctest::Approx(0.8413447460685429).epsilon(1e-14));
    CHECK(gelu.forward(ra::Matrix<double>::Constant(1, 1, -2.0), nullptr)(0, 0) ==
          doctest::Approx(-0.04550026389635842).epsilon(1e-13));
}

TEST_CASE_TEMPLATE("gelu: far out, forward and backward stay finite", T, float, double) {
    const T far = std::sqrt(std::numeric_limits<T>::max());
    ra::Gelu<T, 2> gelu, gradient;
    typename ra::Gelu<T, 2>::Cache cache;
    ra::Matrix<T> x(1, 2);
    x << far, -far;
    const ra::Matrix<T> y = gelu.forward(x, &cache);
    CHECK((y(0, 0) == far && y(0, 1) == 0));
    const ra::Matrix<T> d_x = gelu.backward(ra::Matrix<T>::Ones(1, 2), cache, {gradient, 1});
    CHECK((d_x(0, 0) == 1 && d_x(0, 1) == 0));
}

}  // namespace layers_gelu
