#include <string>
#include <vector>

#include <doctest/doctest.h>

#include <ring_attention/layers/sequential.hpp>
#include <ring_attention/models/build.hpp>
#include <ring_attention/ring/thread/thread_ring.hpp>
#include <ring_attention/sequence/scatter.hpp>

#include "support/compare.hpp"
#include "support/tensors.hpp"

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
    ra::initialise(model, 3);
    const auto x = tensors::normal<double>(std::array<ra::Index, 3>{1, 8, 4}, 1);
    const auto whole = model(x);
    for (const int ranks : {2, 3}) {
        std::vector<ra::Tensor<double, 3>> parts(static_cast<std::size_t>(ranks));
        ra::ThreadRing::run(ranks, [&](ra::ThreadRing& ring) {
            const ra::Share share(ra::ChunkLayout(8, 3), ring.rank(), ranks);
            parts[std::size_t(ring.rank())] = model(ra::tokens_of(x, share), ring);
        });
        CHECK(compare::same_bits(tensors::join(parts, 1), whole));
    }
}
