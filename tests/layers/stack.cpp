#include <string>
#include <vector>

#include <doctest/doctest.h>

#include <ring_attention/layers/block.hpp>
#include <ring_attention/layers/stack.hpp>

#include "support/layer_case.hpp"

namespace layers_stack {

namespace {

namespace ra = ring_attention;

using Between = ra::DropoutLayer<double, 4, ra::DropoutOptions{0.25f, ra::DropoutSite::between_blocks}>;

}  // namespace

TEST_CASE("stack: finite differences, of layers of either kind") {
    support::check_layer<ra::Stack<ra::Dense<double, 4, 4>, 3>>({.batch = 2, .seq_len = 3, .num_seats = 2});
    support::check_layer<
        ra::Stack<ra::RingAttention<double, ra::AttentionLayerOptions{.width = 4, .heads = 2}>, 2>>(
        {.batch = 1, .seq_len = 5, .num_seats = 2});
}

TEST_CASE("stack: finite differences with dropout between the layers") {
    support::check_layer<ra::Stack<ra::Dense<double, 4, 4>, 3, Between>>(
        {.batch = 2, .seq_len = 3, .num_seats = 2}, ra::Dropout{.seed = 4});
}

TEST_CASE("stack: its parts are called 1 to N") {
    std::vector<std::string> names;
    const ra::Stack<ra::LayerNorm<double, 4>, 2> stack;
    ra::for_each_parameter(stack, [&](std::string_view name, const auto&) { names.emplace_back(name); });
    CHECK(names == std::vector<std::string>{"1.gamma", "1.beta", "2.gamma", "2.beta"});
}

TEST_CASE("stack: dropout stands between the layers, not after the last") {
    struct Nothing {
        mutable std::vector<std::uint64_t> layers;
        void keep(const ra::DropoutPlace& place, ra::Index, ra::Index, double,
                  std::span<std::uint8_t> keep) const {
            CHECK(place.site == ra::DropoutSite::between_blocks);
            layers.push_back(place.layer);
            std::fill(keep.begin(), keep.end(), std::uint8_t(0));
        }
    };
    ra::LocalRing ring;
    const ra::Share share(ra::ChunkLayout(1, 1), 0, 1);
    const Nothing masks;
    const ra::Pass pass{ring, share, 1, ra::KeepPatternReference(masks)};
    ra::Stack<ra::Dense<double, 4, 4>, 3, Between> stack;
    for (auto& layer : stack.layers) layer.bias.setOnes();
    const auto y = stack.forward(ra::Matrix<double>::Ones(1, 4), nullptr, pass);
    CHECK(y.isOnes(0));
    CHECK(masks.layers == std::vector<std::uint64_t>{1, 2});
}

}  // namespace layers_stack
