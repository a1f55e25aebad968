#include <concepts>

#include <doctest/doctest.h>

#include <ring_attention/layers/norm.hpp>

namespace layers_norm {

namespace ra = ring_attention;

TEST_CASE("norm: the one that the options name") {
    constexpr ra::NormOptions layer{ra::NormKind::layer, 1e-12f}, rms{ra::NormKind::rms, 1e-6f},
        one_plus{ra::NormKind::rms_one_plus, 1e-6f};
    static_assert(std::same_as<ra::Norm<float, 4, layer>, ra::LayerNorm<float, 4, layer>>);
    static_assert(std::same_as<ra::Norm<float, 4, rms>, ra::RmsNorm<float, 4, rms>>);
    static_assert(std::same_as<ra::Norm<float, 4, one_plus>, ra::RmsNorm<float, 4, one_plus>>);
    static_assert(std::same_as<ra::Norm<float, 4, ra::NormOptions{}>, ra::LayerNorm<float, 4>>);
    static_assert(ra::TokenLayer<ra::Norm<float, 4, layer>> && ra::TokenLayer<ra::Norm<float, 4, rms>>);
}

}  // namespace layers_norm
