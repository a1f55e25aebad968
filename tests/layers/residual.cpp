#include <string>
#include <vector>

#include <doctest/doctest.h>

#include <ring_attention/layers/block.hpp>
#include <ring_attention/layers/gelu.hpp>

#include "support/layer_case.hpp"

namespace layers_residual {

namespace ra = ring_attention;

namespace {

using Norm = ra::LayerNorm<double, 4>;
using Dense = ra::Dense<double, 4, 4>;
using Attention = ra::RingAttention<double, ra::AttentionLayerOptions{.width = 4, .heads = 2}>;
using FeedForward = ra::FeedForward<double, ra::FeedForwardOptions{4, 6}>;
template <int percent>
using Dropout = ra::DropoutLayer<double, 4, ra::DropoutOptions{percent / 100.f, ra::DropoutSite::attention}>;

const support::SeatShape shape{.batch = 2, .seq_len = 5, .num_seats = 3};

template <class Inner, ra::NormPlace place>
void check_gradients() {
    support::check_layer<ra::Residual<Norm, Inner, Dropout<0>, place>>(shape);
    support::check_layer<ra::Residual<Norm, Inner, Dropout<25>, place>>(shape, ra::Dropout{.seed = 4});
}

std::vector<std::string> names_of(const auto& layer) {
    std::vector<std::string> names;
    ra::for_each_parameter(layer, [&](std::string_view name, const auto&) { names.emplace_back(name); });
    return names;
}

/// A layer alone, and what the residual is to be, from plain sums.
template <ra::NormPlace place>
void check_is_sum_of_parts() {
    ra::Residual<Norm, Dense, Dropout<0>, place> residual;
    support::randomise(residual);
    const auto x = support::normal_matrix(7, 4, 1);
    ra::Matrix<double> expected;
    if constexpr (place == ra::NormPlace::after)
        expected = residual.norm.forward(x + residual.inner.forward(x, nullptr), nullptr);
    else if constexpr (place == ra::NormPlace::before)
        expected = x + residual.inner.forward(residual.norm.forward(x, nullptr), nullptr);
    else
        expected = x + residual.post_norm.forward(
                           residual.inner.forward(residual.norm.forward(x, nullptr), nullptr), nullptr);
    ra::LocalRing ring;
    const ra::Share share(ra::ChunkLayout(7, 2), 0, 1);
    const auto y = residual.forward(x, nullptr, ra::Pass{ring, share, 1, {}});
    CHECK(compare::largest_difference(y, inputs::widen<double>(expected)) < 1e-15);
}

}  // namespace

TEST_CASE("residual: finite differences, the norm at any place, with dropout and without") {
    check_gradients<Dense, ra::NormPlace::before>();
    check_gradients<FeedForward, ra::NormPlace::before>();
    check_gradients<Attention, ra::NormPlace::after>();
    check_gradients<Dense, ra::NormPlace::after>();
    check_gradients<ra::Gelu<double, 4>, ra::NormPlace::before_and_after>();  // it cannot add straight
    check_gradients<Attention, ra::NormPlace::before_and_after>();
}

TEST_CASE("residual: the input plus what the inner layer makes of it, and the norm where it belongs") {
    check_is_sum_of_parts<ra::NormPlace::before>();
    check_is_sum_of_parts<ra::NormPlace::after>();
    check_is_sum_of_parts<ra::NormPlace::before_and_after>();
}

TEST_CASE("residual: norms have its prefix, the inner layer's parameters the name that it is given") {
    using Names = std::vector<std::string>;
    CHECK(names_of(ra::Residual<Norm, Dense, Dropout<0>>{}) ==
          Names{"norm.gamma", "norm.beta", "kernel", "bias"});
    CHECK(names_of(ra::Residual<Norm, ra::Named<"mix", Dense>, Dropout<0>, ra::NormPlace::before_and_after,
                                "own_">{}) == Names{"own_norm.gamma", "own_norm.beta", "mix.kernel",
                                                    "mix.bias", "own_post_norm.gamma", "own_post_norm.beta"});
}

TEST_CASE("residual: where the last token alone is wanted, the others are left out, to the bit") {
    ra::Residual<Norm, Attention, Dropout<0>, ra::NormPlace::after> after;
    ra::Residual<Norm, Attention, Dropout<0>, ra::NormPlace::before_and_after> both;
    ra::Residual<Norm, Attention, Dropout<0>> before;
    ra::LocalRing ring;
    const ra::Share share(ra::ChunkLayout(7, 3), 0, 1);
    const ra::Pass all{ring, share, 2, {}}, last{ring, share, 2, {}, 0, true};
    const auto x = support::normal_matrix(14, 4, 1);
    const auto check = [&](auto& residual) {
        support::randomise(residual);
        const auto rows = residual.forward(x, nullptr, last);
        CHECK(rows.rows() == 2);
        CHECK(compare::same_bits(rows, all.last_rows(residual.forward(x, nullptr, all))));
    };
    check(before);
    check(after);
    check(both);
}

}  // namespace layers_residual
