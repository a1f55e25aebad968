#include <string>
#include <vector>

#include <doctest/doctest.h>

#include <ring_attention/layers/block.hpp>
#include <ring_attention/layers/gelu.hpp>
#include <ring_attention/layers/positional_encoding.hpp>
#include <ring_attention/layers/sequential.hpp>
#include <ring_attention/layers/stack.hpp>
#include <ring_attention/models/build.hpp>
#include <ring_attention/ring/thread/thread_ring.hpp>
#include <ring_attention/sequence/scatter.hpp>

#include "support/compare.hpp"
#include "support/layer_case.hpp"
#include "support/tensors.hpp"

namespace layers_sequential {

namespace ra = ring_attention;

namespace {

using Block = ra::Block<double, ra::BlockOptions{.width = 6, .heads = 2, .dropout = 0.25f}>;
using Body = ra::Sequential<ra::Dense<double, 4, 6>, ra::Gelu<double, 6>, ra::Stack<Block, 2>,
                            ra::Dense<double, 6, 3>>;
using Model = ra::Model<Body, ra::Output::all>;

static_assert(ra::SequenceLayer<Body> && !ra::TokenLayer<Body>);
static_assert(Body::in_width == 4 && Body::out_width == 3);

}  // namespace

TEST_CASE("a user's own composition has the names of its parts, in order") {
    const Model model;
    std::vector<std::string> names;
    ra::for_each_parameter(model, [&](std::string_view name, const auto&) { names.emplace_back(name); });
    CHECK(names.size() == 2 + 2 * 12 + 2);
    CHECK(names.front() == "1.kernel");
    CHECK(names[2] == "3_1_attn_norm.gamma");
    CHECK(names.back() == "4.bias");
}

TEST_CASE("a user's own composition has the gradient of its output, with dropout too") {
    Model model;
    ra::initialise(model, 3);
    const ra::Dropout dropout{1, 2};
    auto x = tensors::normal<double>(std::array<ra::Index, 3>{2, 5, 4}, 1);
    const auto weight = tensors::normal<double>(std::array<ra::Index, 3>{2, 5, 3}, 2);
    const auto loss = [&] {
        Model::Cache cache;
        const auto y = model.forward(x, cache, dropout);
        double sum = 0;
        for (ra::Index i = 0; i < y.size(); ++i) sum += y.data()[i] * weight.data()[i];
        return sum;
    };
    const auto slope = [&](double& number) {
        const double at = number, h = 1e-5;
        number = at + h;
        const double above = loss();
        number = at - h;
        const double below = loss();
        number = at;
        return (above - below) / (2 * h);
    };

    Model::Cache cache;
    model.forward(x, cache, dropout);
    Model gradient = ra::zeros_like(model);
    const auto d_x = model.backward(weight, cache, gradient);
    for (ra::Index i = 0; i < x.size(); ++i) CHECK(std::abs(slope(x.data()[i]) - d_x.data()[i]) < 1e-8);
    ra::for_each_parameter_in_step(
        [&](std::string_view name, auto& tensor, const auto& d) {
            CAPTURE(name);
            for (ra::Index i = 0; i < tensor.size(); i += 3)
                CHECK(std::abs(slope(tensor.data()[i]) - d.data()[i]) < 1e-8);
        },
        model, gradient);
}

TEST_CASE("a user's own composition has the same bits on any number of ranks") {
    Model model;
    model.num_chunks = 3;
    ra::initialise(model, 3);
    const auto x = tensors::normal<double>(std::array<ra::Index, 3>{1, 8, 4}, 1);
    const auto whole = model(x);
    for (const int ranks : {2, 3}) {
        std::vector<ra::Tensor<double, 3>> parts(static_cast<std::size_t>(ranks));
        ra::ThreadRing::run(ranks, [&](ra::ThreadRing& ring) {
            const ra::Share share = model.share(ring, 8);
            parts[std::size_t(ring.rank())] = model(ra::tokens_of(x, share), ring);
        });
        CHECK(compare::same_bits(tensors::join(parts, 1), whole));
    }
}

namespace {

using Dense = ra::Dense<double, 4, 4>;
template <ra::DropoutSite site>
using Half = ra::DropoutLayer<double, 4, ra::DropoutOptions{0.5f, site}>;

template <class... Parts>
std::vector<std::string> names_of(const ra::Sequential<Parts...>& layers) {
    std::vector<std::string> names;
    ra::for_each_parameter(layers, [&](std::string_view name, const auto&) { names.emplace_back(name); });
    return names;
}

/// Which layers were asked for their patterns, in order.
struct Asked {
    mutable std::vector<std::uint64_t> layers;
    void keep(const ra::DropoutPlace& place, ra::Index, ra::Index, double,
              std::span<std::uint8_t> keep) const {
        layers.push_back(place.layer);
        std::fill(keep.begin(), keep.end(), std::uint8_t(1));
    }
};

}  // namespace

TEST_CASE("sequential: parts may have names, and names that are prefixes leave their parts' own") {
    using Names = std::vector<std::string>;
    using Inner = ra::Sequential<ra::Named<"up", Dense>, ra::Named<"", ra::Gelu<double, 4>>>;
    const ra::Sequential<ra::Named<"first", Inner>, ra::Named<"", Inner>, ra::Named<"last_", Inner>, Dense>
        layers;
    CHECK(names_of(layers) == Names{"first_up.kernel", "first_up.bias", "up.kernel", "up.bias",
                                    "last_up.kernel", "last_up.bias", "4.kernel", "4.bias"});
    CHECK(&ra::part<"first">(layers) == &std::get<0>(layers.layers));
    CHECK(&ra::part<"up">(ra::part<"last_">(layers)) == &std::get<0>(std::get<2>(layers.layers).layers));
}

TEST_CASE("sequential: random numbers are keyed by a part's number, that of a prefix by where it stands") {
    using Attention = Half<ra::DropoutSite::attention>;
    using FeedForward = Half<ra::DropoutSite::feed_forward>;
    using Layers =
        ra::Sequential<Attention, ra::Named<"named", Attention>,
                       ra::Named<"", ra::Sequential<ra::Named<"", Attention>, ra::Named<"", FeedForward>>>>;
    ra::LocalRing ring;
    const ra::Share share(ra::ChunkLayout(1, 1), 0, 1);
    const Asked asked;
    Layers{}.forward(ra::Matrix<double>::Ones(1, 4), nullptr,
                     ra::Pass{ring, share, 1, ra::KeepPatternReference(asked), 5});
    CHECK(asked.layers == std::vector<std::uint64_t>{5 * 1024 + 1, 5 * 1024 + 2, 5, 5});
}

TEST_CASE("sequential: tokens that nobody looks at are left out where no later part needs them") {
    using Attention = ra::RingAttention<double, ra::AttentionLayerOptions{.width = 4, .heads = 2}>;
    using Position = ra::PositionalEncoding<double, 4>;
    ra::LocalRing ring;
    const ra::Share share(ra::ChunkLayout(7, 3), 0, 1);
    const ra::Pass last{ring, share, 2, {}, 0, true};
    const auto x = support::normal_matrix(14, 4, 1);
    CHECK(ra::Sequential<Attention, Dense, Half<ra::DropoutSite::attention>>{}
              .forward(x, nullptr, last)
              .rows() == 2);
    CHECK(ra::Sequential<Attention, ra::Sequential<Dense, Dense>>{}.forward(x, nullptr, last).rows() == 2);
    CHECK(ra::Sequential<Attention, Position>{}.forward(x, nullptr, last).rows() == 14);
}

TEST_CASE("sequential: it may begin with tokens, also inside another one") {
    using Tokens = ra::Sequential<ra::Named<"embedding", ra::Embedding<double, 5, 4>>, Dense>;
    using Whole = ra::Sequential<ra::Named<"tokens", Tokens>, Dense>;
    static_assert(Tokens::vocabulary == 5 && Whole::vocabulary == 5 && Whole::streams);
    static_assert(!ra::SequenceLayer<Whole> && ra::TokenBody<Whole>);
    ra::Model<Whole, ra::Output::all> model;
    ra::initialise(model, 3);
    ra::Tensor<ra::Token, 2> tokens(1, 3);
    tokens.setValues({{4, 0, 4}});
    decltype(model)::Cache cache;
    auto gradient = ra::zeros_like(model);
    const auto y = model.forward(tokens, cache);
    model.backward(y, cache, gradient);
    CHECK(y(0, 0, 1) == y(0, 2, 1));
    CHECK(ra::part<"embedding">(ra::part<"tokens">(gradient.body)).table.row(4).norm() > 0);
    CHECK(ra::part<"embedding">(ra::part<"tokens">(gradient.body)).table.row(3).norm() == 0);
}

}  // namespace layers_sequential
