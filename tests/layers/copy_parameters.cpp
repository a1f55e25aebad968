#include <limits>

#include <doctest/doctest.h>

#include <ring_attention/layers/copy_parameters.hpp>
#include <ring_attention/layers/dense.hpp>
#include <ring_attention/layers/layer_norm.hpp>
#include <ring_attention/layers/sequential.hpp>

#include "support/compare.hpp"
#include "support/layer_case.hpp"

namespace layers_copy_parameters {

namespace {

namespace ra = ring_attention;

template <class T, ra::Storage weights = ra::Storage::computing>
using Layers = ra::Sequential<ra::LayerNorm<T, 5>, ra::Dense<T, 5, 37, true, weights>>;

}  // namespace

TEST_CASE("parameters are copied to a model of another type, each to the nearest number of it") {
    Layers<double> given;
    support::randomise(given);
    auto& kernel = std::get<1>(given.layers).kernel;
    kernel(0, 0) = 1 + 0x1p-8 + 0x1p-40;  // rounded to float first, it would lie in the middle of two
    kernel(4, 36) = std::numeric_limits<double>::infinity();

    Layers<float> single;
    ra::copy_parameters(given, single);
    Layers<float, ra::Storage::bfloat16> narrow;
    ra::copy_parameters(given, narrow);
    Layers<double> back;
    ra::copy_parameters(narrow, back);
    int wrong = 0;
    for (ra::Index i = 0; i < kernel.size(); ++i) {
        const double number = kernel.data()[i];
        wrong += std::get<1>(single.layers).kernel.data()[i] != float(number);
        wrong += std::get<1>(narrow.layers).kernel.data()[i] != ra::Bfloat16(number);
        wrong += std::get<1>(back.layers).kernel.data()[i] != double(ra::Bfloat16(number));
    }
    CHECK(wrong == 0);
    CHECK(double(std::get<1>(narrow.layers).kernel(0, 0)) == 1 + 0x1p-7);
    CHECK(compare::largest_difference(std::get<0>(narrow.layers).gamma, std::get<0>(single.layers).gamma) ==
          0);
}

TEST_CASE("models that have other parameters are told so, and nothing is copied") {
    ra::Dense<float, 3, 4> to;
    ra::Dense<double, 3, 5> wider;
    support::randomise(wider);
    CHECK_THROWS_WITH_AS(ra::copy_parameters(wider, to),
                         "copy_parameters: kernel has shape [3, 5], expected [3, 4]", ra::ShapeError);
    CHECK_THROWS_WITH_AS(ra::copy_parameters(ra::Dense<float, 3, 4, false>(), to),
                         "copy_parameters: given nothing, expected bias", ra::ShapeError);
    CHECK(to.kernel.isZero(0));
}

}  // namespace layers_copy_parameters
