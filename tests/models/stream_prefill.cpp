// A stream that starts with what the ranks of a ring compute together goes on as one that was pushed
// everything, and with the same bits on any number of ranks.

#include <stdexcept>
#include <vector>

#include <doctest/doctest.h>

#include <ring_attention/layers/sequential.hpp>
#include <ring_attention/models/build.hpp>
#include <ring_attention/models/stream.hpp>
#include <ring_attention/ring/thread/thread_ring.hpp>
#include <ring_attention/sequence/scatter.hpp>

#include "support/compare.hpp"
#include "support/error_message.hpp"
#include "support/layouts.hpp"
#include "support/tensors.hpp"

namespace models_stream_prefill {

namespace {

namespace ra = ring_attention;

/// Grouped heads, layers with a window, and one without that turns keys by their position.
constexpr ra::AttentionLayerOptions near{.width = 8, .heads = 4, .key_value_heads = 2, .window = 4},
    far{.width = 8, .heads = 4, .key_value_heads = 1, .rotary = {.on = true}};
using Body = ra::Sequential<ra::PositionalEncoding<double, 8>, ra::RingAttention<double, near>,
                            ra::RingAttention<double, far>, ra::RingAttention<double, near>>;
using Model = ra::Model<Body, ra::Output::all>;
using LastModel = ra::Model<Body, ra::Output::last_timestep>;
using Stream = ra::Stream<Model>;
using X = ra::Tensor<double, 3>;
using Outputs = std::vector<ra::Tensor<double, 2>>;

constexpr ra::Index batch = 2, more = 7;

template <class M = Model>
M random_model(ra::Layout layout = ra::Layout::contiguous) {
    M model{.body = {}, .num_chunks = 5, .layout = layout};
    ra::initialise(model, 3);
    return model;
}

X random_input(ra::Index count) {
    return tensors::normal<double, 3>({batch, count, 8}, 1);
}

/// What comes out at the last of seq_len tokens that this rank shares with the others, and at each of those
/// behind.
template <class M>
Outputs prefilled(const M& model, const X& x, ra::Index seq_len, ra::RingReference ring,
                  const ra::StreamOptions& options = {.batch = batch}) {
    ra::Stream<M> stream{model, options};
    const X first = tensors::slice(x, 1, 0, seq_len);
    Outputs outputs{stream.prefill(ra::tokens_of(first, model.share(ring, seq_len)), ring)};
    for (ra::Index t = seq_len; t < x.dimension(1); ++t)
        outputs.push_back(stream.push(tensors::slice(x, 1, t, 1)));
    if (stream.size() != x.dimension(1)) throw std::runtime_error("other size");
    return outputs;
}

Outputs prefilled_alone(const Model& model, const X& x, ra::Index seq_len) {
    ra::LocalRing ring;
    return prefilled(model, x, seq_len, ring);
}

bool same_bits(const Outputs& a, const Outputs& b) {
    bool same = a.size() == b.size();
    for (std::size_t i = 0; same && i < a.size(); ++i) same = compare::same_bits(a[i], b[i]);
    return same;
}

}  // namespace

TEST_CASE("a prefilled stream goes on as the whole forward pass does") {
    const Model model = random_model();
    for (const ra::Index seq_len : {1, 2, 4, 5, 13, 40}) {
        CAPTURE(seq_len);
        const X x = random_input(seq_len + more);
        const X whole = model(x);
        const Outputs outputs = prefilled_alone(model, x, seq_len);
        REQUIRE(outputs.size() == 1 + more);
        for (ra::Index i = 0; i <= more; ++i) {
            const ra::Tensor<double, 2> expected = whole.chip(seq_len - 1 + i, 1);
            CHECK(compare::largest_difference(outputs[std::size_t(i)], expected) < 1e-13);
        }
    }
}

TEST_CASE("a prefilled stream has the same bits on any number of ranks in every layout") {
    for (const ra::Layout layout : {ra::Layout::contiguous, ra::Layout::zigzag, ra::Layout::striped}) {
        const Model model = random_model(layout);
        for (const ra::Index seq_len : {1, 3, 13, 40}) {
            const X x = random_input(seq_len + more);
            const Outputs alone = prefilled_alone(model, x, seq_len);
            for (int ranks = 1; ranks <= 5; ++ranks) {
                INFO(support::name_of(layout), ", seq_len ", seq_len, ", ranks ", ranks);
                ra::ThreadRing::run(ranks, [&](ra::ThreadRing& ring) {
                    if (!same_bits(prefilled(model, x, seq_len, ring), alone))
                        throw std::runtime_error("other bits");
                });
            }
        }
    }
}

TEST_CASE("a model of the last timestep can be prefilled too, and a stream with a capacity") {
    const auto model = random_model<LastModel>();
    const X x = random_input(13 + more);
    ra::LocalRing ring;
    const Outputs outputs = prefilled(model, x, 13, ring, {.batch = batch, .capacity = 13 + more});
    CHECK(same_bits(outputs, prefilled_alone(random_model(), x, 13)));
}

TEST_CASE("a stream that was reset can be prefilled, one with tokens cannot") {
    const Model model = random_model();
    const X x = random_input(9);
    ra::LocalRing ring;
    Stream stream{model, {.batch = batch, .capacity = 9}};
    stream.push(x);
    CHECK(support::error_message([&] { stream.prefill(x, ring); }) ==
          "prefill: the stream has 9 tokens already, expected none");
    stream.reset();
    const auto first = stream.prefill(x, ring);
    stream.reset();
    CHECK(compare::same_bits(stream.prefill(x, ring), first));
}

TEST_CASE("a prefill that does not fit is refused, and the stream is as before") {
    const Model model = random_model();
    ra::LocalRing ring;
    Stream stream{model, {.batch = batch, .capacity = 8}};
    CHECK(support::error_message([&] { stream.prefill(random_input(9), ring); }) ==
          "push: 9 tokens after 0, expected at most 8 in all, the capacity");
    CHECK(support::error_message([&] { stream.prefill(X(1, 4, 8), ring); }) ==
          "prefill: x has a batch of 1, expected 2");
    CHECK_THROWS_AS(stream.prefill(X(batch, 4, 7), ring), ra::ShapeError);
    CHECK(stream.size() == 0);
    const X x = random_input(8);
    Stream other{model, {.batch = batch}};
    CHECK(compare::same_bits(stream.push(x), other.push(x)));
}

}  // namespace models_stream_prefill
