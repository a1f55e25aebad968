// Streams of attention with windows, grouped heads, soft caps, sinks and documents.

#include <vector>

#include <doctest/doctest.h>

#include <ring_attention/layers/sequential.hpp>
#include <ring_attention/models/build.hpp>
#include <ring_attention/models/stream.hpp>

#include "support/compare.hpp"
#include "support/error_message.hpp"
#include "support/layer_case.hpp"
#include "support/tensors.hpp"

namespace models_stream_attention {

namespace ra = ring_attention;

namespace {

using Sequences = ra::Tensor<double, 3>;

constexpr ra::AttentionLayerOptions grouped{.width = 4, .heads = 4, .key_value_heads = 2, .sinks = true};
constexpr ra::AttentionLayerOptions near{.width = 4, .heads = 2, .window = 5, .softcap = 1.5f};
constexpr ra::AttentionLayerOptions multi_query{.width = 4,
                                                .heads = 2,
                                                .key_value_heads = 1,
                                                .head_width = 3,
                                                .window = 70,
                                                .scale = 0.7f,
                                                .sinks = true};

using Body = ra::Sequential<ra::PositionalEncoding<double, 4>, ra::RingAttention<double, grouped>,
                            ra::RingAttention<double, near>, ra::RingAttention<double, multi_query>>;
using Model = ra::Model<Body, ra::Output::all>;
using Stream = ra::Stream<Model>;

constexpr double rounding = 1e-13;

/// Numbers a token that a stream keeps in its layers without a window, and in the others for each token of
/// their room.
constexpr ra::Index of_grouped = 2 * 2 * 1, of_near = 2 * 2 * 2, of_multi_query = 2 * 1 * 3;

ra::Index bytes(ra::Index batch, ra::Index tokens) {
    const auto room = [&](ra::Index window) { return std::min(tokens, window - 1 + Stream::portion); };
    return batch * 8 * (of_grouped * tokens + of_near * room(5) + of_multi_query * room(70));
}

Model random_model() {
    Model model{.body = {}, .num_chunks = 1};
    support::randomise(model);
    ra::for_each_parameter(model, [](std::string_view, auto& tensor) { tensor *= 0.5; });
    return model;
}

Sequences random_input(ra::Index batch, ra::Index count) {
    return tensors::normal<double, 3>({batch, count, 4}, 1);
}

/// The outputs at all tokens, pushed in portions of these sizes again and again; a document begins at each of
/// `starts`.
Sequences push(Stream& stream, const Sequences& x, const std::vector<ra::Index>& sizes,
               std::vector<ra::Index> starts = {}) {
    std::vector<Sequences> outputs;
    std::size_t turn = 0, document = 0;
    starts.push_back(x.dimension(1));
    for (ra::Index done = 0, count; done < x.dimension(1); done += count) {
        if (done == starts[document]) {
            if (done > 0) stream.begin_document();
            ++document;
        }
        count = std::min(sizes[turn++ % sizes.size()], starts[document] - done);
        outputs.push_back(stream.push_all(tensors::slice(x, 1, done, count)));
    }
    return tensors::join(outputs, 1);
}

}  // namespace

static_assert(
    !ra::StreamingLayer<ra::RingAttention<float, ra::AttentionLayerOptions{.width = 4, .causal = false}>>);
static_assert(!ra::StreamingLayer<ra::Block<float, ra::BlockOptions{.width = 4, .causal = false}>>);

TEST_CASE("stream: with windows, groups, soft caps and sinks it gives the whole forward pass") {
    const Model model = random_model();
    const Sequences x = random_input(2, 1300);
    const auto whole = model(x);
    for (const ra::Index capacity : {0, 1300})
        for (const std::vector<ra::Index>& sizes :
             std::vector<std::vector<ra::Index>>{{1}, {1, 7, 64, 513, 2}, {512}, {1300}}) {
            CAPTURE(capacity);
            Stream stream{model, ra::StreamOptions{.batch = 2, .capacity = capacity}};
            CHECK(compare::largest_difference(push(stream, x, sizes), whole) < rounding);
        }
}

TEST_CASE("stream: a document sees nothing of those before it, and its positions count anew") {
    const Model model = random_model();
    const Sequences x = random_input(2, 700);
    const std::vector<ra::Index> starts{0, 1, 40, 650};
    const auto whole = model(x, {.document_starts = starts});
    for (const std::vector<ra::Index>& sizes : std::vector<std::vector<ra::Index>>{{1, 3}, {700}}) {
        Stream stream{model, ra::StreamOptions{.batch = 2, .capacity = 610}};
        CHECK(compare::largest_difference(push(stream, x, sizes, starts), whole) < rounding);
        CHECK(stream.size() == 700);
        CHECK(stream.bytes() == bytes(2, 610));
        stream.reset();
        CHECK(compare::largest_difference(push(stream, x, sizes, starts), whole) < rounding);
    }
}

TEST_CASE("stream: the capacity counts the tokens of a document") {
    const Model model = random_model();
    Stream stream{model, ra::StreamOptions{.capacity = 6}};
    stream.push(random_input(1, 4));
    stream.begin_document();
    stream.push(random_input(1, 5));
    CHECK_REFUSES(stream.push(random_input(1, 2)), "2 tokens after 5", "at most 6");
    CHECK(stream.size() == 9);
}

TEST_CASE("stream: a layer with a window needs the memory of the window and a portion, however long it is") {
    const Model model = random_model();
    Stream stream{model, ra::StreamOptions{.batch = 2}};
    for (ra::Index t = 1; t <= 40; ++t) {
        stream.push(random_input(2, 1));
        CHECK(stream.bytes() == bytes(2, stream.capacity()));
    }
    for (int i = 0; i < 8; ++i) {
        stream.push(random_input(2, 513));
        CHECK(stream.bytes() == bytes(2, stream.capacity()));
    }
    CHECK(stream.capacity() > 4000);
    Stream stated{model, ra::StreamOptions{.batch = 2, .capacity = 3000}};
    CHECK(stated.bytes() == bytes(2, 3000));
    stated.push(random_input(2, 3000));
    CHECK(stated.bytes() == bytes(2, 3000));
}

}  // namespace models_stream_attention
