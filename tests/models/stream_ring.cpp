// A stream whose keys and values are shared among the ranks of a ring gives what the whole forward pass
// gives, with the same bits on any number of ranks.

#include <limits>
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
#include "support/layer_case.hpp"
#include "support/layouts.hpp"
#include "support/num_threads.hpp"
#include "support/tensors.hpp"

namespace models_stream_ring {

namespace {

namespace ra = ring_attention;
using ra::Index;
using X = ra::Tensor<double, 3>;

/// Grouped heads and sinks, a window within a block and a soft cap, one that reaches over several and turned
/// keys, and keys and values that are rounded.
constexpr ra::AttentionLayerOptions grouped{.width = 4, .heads = 4, .key_value_heads = 2, .sinks = true};
constexpr ra::AttentionLayerOptions near{.width = 4, .heads = 2, .window = 5, .softcap = 1.5f};
constexpr ra::AttentionLayerOptions far{.width = 4,
                                        .heads = 2,
                                        .key_value_heads = 1,
                                        .head_width = 6,
                                        .window = 700,
                                        .sinks = true,
                                        .rotary = {.on = true}};
constexpr ra::AttentionLayerOptions rounded{.width = 4, .heads = 2, .storage = ra::Storage::bfloat16};

template <ra::AttentionLayerOptions... layers>
using BodyOf = ra::Sequential<ra::PositionalEncoding<double, 4>, ra::RingAttention<double, layers>...>;
using Body = BodyOf<grouped, near, far, rounded>;
using Model = ra::Model<Body, ra::Output::all>;
using Stream = ra::Stream<Model>;

constexpr Index batch = 2;
constexpr double rounding = 1e-12;

template <class M = Model>
M random_model(Index num_chunks, ra::Layout layout = ra::Layout::contiguous) {
    M model{.body = {}, .num_chunks = num_chunks, .layout = layout};
    support::randomise(model);
    ra::for_each_parameter(model, [](std::string_view, auto& tensor) { tensor *= 0.5; });
    return model;
}

X random_input(Index count) {
    return tensors::normal<double, 3>({batch, count, 4}, 1);
}

/// The outputs at the tokens from the stream's next on, pushed in portions of these sizes again and again.
X push(auto& stream, const X& x, const std::vector<Index>& sizes) {
    std::vector<X> outputs;
    std::size_t turn = 0;
    for (Index done = stream.size(), count; done < x.dimension(1); done += count) {
        count = std::min(sizes[turn++ % sizes.size()], x.dimension(1) - done);
        outputs.push_back(stream.push_all(tensors::slice(x, 1, done, count)));
    }
    return tensors::join(outputs, 1);
}

void require(bool holds, const char* what) {
    if (!holds) throw std::runtime_error(what);
}

const std::vector<std::vector<Index>> every_portions{{1}, {1, 7, 64, 513, 2}, {512}, {300, 1, 1}, {2000}};

}  // namespace

TEST_CASE("stream on a ring: in any portions it gives the whole forward pass, at any number of seats") {
    const X x = random_input(1100);
    for (const Index seats : {1, 2, 3, 5}) {
        const Model model = random_model(seats);
        const X whole = model(x);
        ra::LocalRing ring;
        for (const auto& sizes : every_portions) {
            CAPTURE(seats);
            Stream stream{model, ring, {.batch = batch}};
            CHECK(compare::largest_difference(push(stream, x, sizes), whole) < rounding);
        }
    }
}

TEST_CASE("stream on a ring: with one seat it has the bits of a stream without a ring") {
    const X x = random_input(700);
    const Model model = random_model(1);
    ra::LocalRing ring;
    Stream shared{model, ring, {.batch = batch}}, alone{model, {.batch = batch}};
    CHECK(compare::same_bits(push(shared, x, {1, 300}), push(alone, x, {1, 300})));
}

TEST_CASE("stream on a ring: the same bits on any number of ranks and threads") {
    const X x = random_input(1100);
    const Model model = random_model(4);
    for (const auto& sizes : {every_portions[1], every_portions[3]}) {
        ra::LocalRing one;
        Stream alone{model, one, {.batch = batch}};
        const X expected = push(alone, x, sizes);
        for (const int ranks : {1, 2, 3, 4}) {
            const support::NumThreads threads(1 + ranks % 3);
            CHECK_NOTHROW(ra::ThreadRing::run(ranks, [&](ra::ThreadRing& ring) {
                Stream stream{model, ring, {.batch = batch, .capacity = ranks == 2 ? 1100 : 0}};
                require(compare::same_bits(push(stream, x, sizes), expected), "other bits");
            }));
        }
    }
}

TEST_CASE("stream on a ring: behind a prefill, in every layout, with the same bits on any number of ranks") {
    for (const ra::Layout layout : support::every_layout) {
        const Model model = random_model(4, layout);
        for (const Index seq_len : {1, 3, 13, 1000}) {
            const X x = random_input(seq_len + 600), whole = model(x);
            const auto outputs = [&](auto& ring) {
                Stream stream{model, ring, {.batch = batch}};
                const X first = tensors::slice(x, 1, 0, seq_len);
                const auto y = stream.prefill(ra::tokens_of(first, model.share(ring, seq_len)));
                X at_last(batch, 1, 4);
                at_last.chip(0, 1) = y;
                return tensors::join(std::vector<X>{at_last, push(stream, x, {1, 1, 280, 3})}, 1);
            };
            ra::LocalRing one;
            const X alone = outputs(one);
            CHECK(compare::largest_difference(alone, tensors::slice(whole, 1, seq_len - 1, 601)) < rounding);
            for (const int ranks : {2, 3, 4}) {
                INFO(support::name_of(layout), ", seq_len ", seq_len, ", ranks ", ranks);
                CHECK_NOTHROW(ra::ThreadRing::run(ranks, [&](ra::ThreadRing& ring) {
                    require(compare::same_bits(outputs(ring), alone), "other bits");
                }));
            }
        }
    }
}

TEST_CASE("stream on a ring: documents, a reset, and a copy that goes on by itself") {
    const X x = random_input(900);
    const Model model = random_model(3);
    const X whole = model(x, {.document_starts = {0, 300, 310}});
    CHECK_NOTHROW(ra::ThreadRing::run(2, [&](ra::ThreadRing& ring) {
        Stream stream{model, ring, {.batch = batch}};
        for (int round = 0; round < 2; ++round) {
            std::vector<X> outputs;
            for (const Index end : {300, 310, 900}) {
                if (stream.size() > 0) stream.begin_document();
                outputs.push_back(push(stream, tensors::slice(x, 1, 0, end), {1, 290}));
            }
            require(compare::largest_difference(tensors::join(outputs, 1), whole) < rounding,
                    "other numbers");
            stream.reset();
            if (round == 0) stream.prefill(ra::tokens_of(x, model.share(ring, 900)));
            stream.reset();
        }
        push(stream, tensors::slice(x, 1, 0, 500), {100});
        Stream copy = stream;
        const X expected = push(copy, tensors::slice(x, 1, 0, 600), {100});
        require(compare::same_bits(push(stream, tensors::slice(x, 1, 0, 600), {100}), expected),
                "other bits");
    }));
}

TEST_CASE("stream on a ring: the mean, the last timestep, and tokens") {
    using Mean = ra::Model<Body, ra::Output::mean_pool>;
    using Last = ra::Model<Body, ra::Output::last_timestep>;
    const X x = random_input(600);
    const auto check = [&](const auto& model, const auto& input, double tolerance) {
        const auto expected = model(input);
        CHECK_NOTHROW(ra::ThreadRing::run(2, [&](ra::ThreadRing& ring) {
            ra::Stream stream{model, ring, {.batch = input.dimension(0)}};
            stream.push(tensors::slice(input, 1, 0, 550));
            for (Index t = 550; t < 599; ++t) stream.push(tensors::slice(input, 1, t, 1));
            const auto y = stream.push(input.chip(599, 1));
            require(compare::largest_difference(y, expected) < tolerance, "other numbers");
        }));
    };
    check(random_model<Mean>(3), x, rounding);
    check(random_model<Last>(3), x, rounding);

    constexpr ra::LanguageOptions options{
        .vocabulary = 11, .hidden_size = 8, .num_heads = 2, .num_chunks = 3, .num_layers = 2};
    const auto model = ra::build<options>(3);
    ra::Tensor<ra::Token, 2> tokens(1, 600);
    for (Index i = 0; i < 600; ++i) tokens(0, i) = ra::Token(i * i % 11);
    const ra::Tensor<float, 2> expected = model(tokens).chip(599, 1);
    CHECK_NOTHROW(ra::ThreadRing::run(3, [&](ra::ThreadRing& ring) {
        ra::Stream stream{model, ring};
        stream.push(tensors::slice(tokens, 1, 0, 599));
        require(compare::largest_difference(stream.push(tokens(0, 599)), expected) < 2e-6, "other numbers");
    }));
}

TEST_CASE("stream on a ring: a NaN changes no output before it, nor of another sequence, and stays one") {
    const Model model = random_model(3);
    const X x = random_input(320);
    X wild = x;
    wild(1, 100, 2) = std::numeric_limits<double>::quiet_NaN();
    ra::LocalRing ring;
    Stream tame_stream{model, ring, {.batch = batch}}, wild_stream{model, ring, {.batch = batch}};
    const X tame_outputs = push(tame_stream, x, {7}), wild_outputs = push(wild_stream, wild, {7});
    for (Index t = 0; t < 320; ++t)
        for (Index i = 0; i < 4; ++i) {
            CHECK(tame_outputs(0, t, i) == wild_outputs(0, t, i));
            if (t < 100)
                CHECK(tame_outputs(1, t, i) == wild_outputs(1, t, i));
            else
                CHECK(std::isnan(wild_outputs(1, t, i)));
        }
}

}  // namespace models_stream_ring
