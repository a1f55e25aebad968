#include <cmath>
#include <limits>
#include <string_view>
#include <type_traits>

#include <doctest/doctest.h>

#include <ring_attention/training/adamw.hpp>

#include "support/small_gradient.hpp"

namespace training_adamw {

namespace ra = ring_attention;

namespace {

using Model = support::SmallModel;
using support::gradient_of_step;

/// One weight by the letter of the paper's algorithm.
struct PlainAdamW {
    double weight, decay, first = 0, second = 0;

    void step(double g, int t, double rate, const ra::AdamWOptions& o) {
        first = o.beta1 * first + (1 - o.beta1) * g;
        second = o.beta2 * second + (1 - o.beta2) * g * g;
        const double m = first / (1 - std::pow(o.beta1, t)), v = second / (1 - std::pow(o.beta2, t));
        weight -= rate * (m / (std::sqrt(v) + o.epsilon) + decay * weight);
    }
};

using Floats = ra::Dense<float, 3, 2>;

/// The numbers of all parameters that are neither 0 nor normal.
template <class M>
ra::Index count_subnormal(const M& model) {
    ra::Index count = 0;
    ra::for_each_parameter(model, [&](std::string_view, const auto& tensor) {
        for (ra::Index i = 0; i < tensor.size(); ++i)
            count += std::fpclassify(tensor.data()[i]) == FP_SUBNORMAL;
    });
    return count;
}

template <class M>
M constant(double number) {
    M model;
    model.kernel.setConstant(typename M::Scalar(number));
    model.bias.setConstant(typename M::Scalar(number));
    return model;
}

}  // namespace

TEST_CASE_TEMPLATE("AdamW: no number stays subnormal where a gradient stays 0", M, Floats, Model) {
    const int steps = std::is_same_v<M, Floats> ? 3000 : 16'000;
    M model = constant<M>(0.5);
    ra::AdamW optimiser(model);
    optimiser.step(model, constant<M>(0.01), 1e-3);
    const M nothing = ra::zeros_like(model);
    bool normal = true;
    for (int step = 0; step < steps; ++step) {
        optimiser.step(model, nothing, 1e-3);
        normal = normal && count_subnormal(optimiser.first_moment) == 0 &&
                 count_subnormal(optimiser.second_moment) == 0;
    }
    CHECK(normal);
    CHECK(optimiser.first_moment.kernel(0, 0) == 0);
    CHECK(optimiser.second_moment.kernel(0, 0) == 0);
}

TEST_CASE("AdamW: no number is subnormal where gradients are tiny, or so themselves") {
    for (const double slope : {1e-45, 1e-40, 1e-38, 1e-32, 1e-25, 1e-22, 1e-20, 1e-19, 1e-18}) {
        CAPTURE(slope);
        Floats model = constant<Floats>(0.5);
        ra::AdamW optimiser(model);
        for (int step = 0; step < 50; ++step) {
            optimiser.step(model, constant<Floats>(slope), 1e-3);
            REQUIRE(count_subnormal(optimiser.first_moment) == 0);
            REQUIRE(count_subnormal(optimiser.second_moment) == 0);
        }
    }
}

TEST_CASE("AdamW: weights that decay end at 0, not in subnormal numbers") {
    Floats model = constant<Floats>(0.5);
    ra::AdamW optimiser(model, {.weight_decay = 1});
    for (int step = 0; step < 160; ++step) {
        optimiser.step(model, ra::zeros_like(model), 0.5);  // halves the matrix
        CHECK(count_subnormal(model) == 0);
    }
    CHECK(model.kernel(0, 0) == 0);
    CHECK(model.bias[0] == 0.5f);
}

TEST_CASE("AdamW: with an epsilon beside which they count, small moments are kept") {
    Floats model = constant<Floats>(0.5);
    ra::AdamW optimiser(model, {.epsilon = 1e-25, .weight_decay = 0});
    optimiser.step(model, constant<Floats>(-1e-20), 0.125);
    CHECK(model.kernel(0, 0) == doctest::Approx(0.625).epsilon(1e-2));  // whatever the slope, a full step
}

TEST_CASE("AdamW: a NaN in the gradient is seen in the weights") {
    Floats model = constant<Floats>(0.5), gradient = constant<Floats>(0);
    gradient.kernel(0, 0) = std::numeric_limits<float>::quiet_NaN();
    ra::AdamW optimiser(model);
    optimiser.step(model, gradient, 1e-3);
    CHECK(std::isnan(model.kernel(0, 0)));
    CHECK(std::isfinite(model.kernel(1, 1)));
}

TEST_CASE("AdamW follows the paper, with decay on matrices only") {
    const ra::AdamWOptions options{.beta1 = 0.8, .beta2 = 0.9, .epsilon = 1e-6, .weight_decay = 0.3};
    Model model;
    model.kernel.setConstant(0.5);
    model.bias.setConstant(0.5);
    ra::AdamW optimiser(model, options);
    PlainAdamW kernel{0.5, 0.3}, bias{0.5, 0};
    for (int step = 1; step <= 20; ++step) {
        const Model gradient = gradient_of_step(step);
        optimiser.step(model, gradient, 0.01 * step);
        kernel.step(gradient.kernel(1, 1), step, 0.01 * step, options);
        bias.step(gradient.bias[1], step, 0.01 * step, options);
        CHECK(model.kernel(1, 1) == doctest::Approx(kernel.weight).epsilon(1e-13));
        CHECK(model.bias[1] == doctest::Approx(bias.weight).epsilon(1e-13));
    }
}

}  // namespace training_adamw
