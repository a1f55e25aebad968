#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <doctest/doctest.h>

#include <ring_attention/layers/feed_forward.hpp>

#include "support/layer_case.hpp"
#include "support/layer_oracle.hpp"

namespace layers_feed_forward {

namespace ra = ring_attention;
using enum ra::ActivationKind;

namespace {

using Plain = ra::FeedForward<double, ra::FeedForwardOptions{4, 9}>;
using SwiGlu = ra::FeedForward<double, ra::FeedForwardOptions{4, 9, silu, true, false}>;
using GeGlu = ra::FeedForward<double, ra::FeedForwardOptions{4, 9, gelu_tanh, true, true}>;

using R = long double;

auto widen(const auto& tensor) {
    return inputs::widen<R>(tensor);
}

/// With a bias of 0 where the layer has none.
template <class L>
std::vector<R> dense(const std::vector<R>& x, const L& layer) {
    auto bias = widen(layer.bias);
    bias.resize(L::out_width);
    return oracle::dense(x, widen(layer.kernel), bias);
}

template <class L>
std::vector<std::string> names() {
    std::vector<std::string> names;
    ra::for_each_parameter(*std::make_unique<L>(),
                           [&](std::string_view name, auto&) { names.emplace_back(name); });
    return names;
}

}  // namespace

TEST_CASE("feed-forward: finite differences") {
    support::check_layer<Plain>({.batch = 2, .seq_len = 3, .num_seats = 1});
    support::check_layer<ra::FeedForward<double, ra::FeedForwardOptions{4, 16}>>(
        {.batch = 1, .seq_len = 5, .num_seats = 3});
}

TEST_CASE("feed-forward, gated: finite differences") {
    support::check_layer<SwiGlu>({.batch = 2, .seq_len = 5, .num_seats = 3});
    support::check_layer<GeGlu>({.batch = 1, .seq_len = 5, .num_seats = 2});
}

TEST_CASE("feed-forward: down(gelu(up(x)))") {
    Plain layer;
    support::randomise(layer);
    const auto x = widen(inputs::normal<double>(5 * 4, 1));
    support::check_forward(layer, x, dense(oracle::gelu(dense(x, layer.up)), layer.down), 1e-13);
}

TEST_CASE("feed-forward, gated: down(activation(gate(x)) * up(x))") {
    const auto x = widen(inputs::normal<double>(5 * 4, 1));
    SwiGlu swiglu;
    support::randomise(swiglu);
    support::check_forward(
        swiglu, x,
        dense(oracle::multiply(oracle::silu(dense(x, swiglu.gate)), dense(x, swiglu.up)), swiglu.down),
        1e-13);
    GeGlu geglu;
    support::randomise(geglu);
    support::check_forward(
        geglu, x,
        dense(oracle::multiply(oracle::gelu_tanh(dense(x, geglu.gate)), dense(x, geglu.up)), geglu.down),
        1e-13);
}

TEST_CASE("feed-forward: its parameters") {
    CHECK(names<Plain>() == std::vector<std::string>{"up.kernel", "up.bias", "down.kernel", "down.bias"});
    CHECK(names<SwiGlu>() == std::vector<std::string>{"gate.kernel", "up.kernel", "down.kernel"});
}

TEST_CASE("feed-forward: blocks of tokens change no bit, and what is added to a sum is the output") {
    SwiGlu layer;
    support::randomise(layer);
    const ra::Index tokens = 2 * SwiGlu::tokens_at_once + 3;
    const auto x = support::normal_matrix(tokens, 4, 1);
    SwiGlu::Cache cache;
    const auto in_blocks = layer.forward(x, nullptr);
    CHECK(compare::same_bits(in_blocks, layer.forward(x, &cache)));

    auto sums = support::normal_matrix(tokens, 4, 2);
    const ra::Matrix<double> expected = sums + in_blocks;
    SwiGlu::for_each_block(x, [&](const ra::Matrix<double>& block, ra::Index first) {
        layer.add_forward(block, nullptr, ra::detail::view(sums).middle_rows(first, block.rows()));
    });
    CHECK(compare::same_bits(sums, expected));
}

}  // namespace layers_feed_forward
