// Models of rotary positions, norms of queries and keys, and layers with windows of their own: on ranks and
// in streams.

#include <algorithm>
#include <vector>

#include <doctest/doctest.h>

#include <ring_attention/layers/sequential.hpp>
#include <ring_attention/layers/stack.hpp>
#include <ring_attention/models/stream.hpp>

#include "support/layer_case.hpp"
#include "support/layouts.hpp"
#include "support/model_run.hpp"

namespace ra = ring_attention;

namespace {

constexpr ra::AttentionLayerOptions first{.width = 6,
                                          .heads = 2,
                                          .key_value_heads = 1,
                                          .head_width = 4,
                                          .qkv_bias = false,
                                          .out_bias = false,
                                          .rotary = {.on = true,
                                                     .base = 500,
                                                     .pairs = ra::RotaryPairs::interleaved,
                                                     .scaling = ra::RotaryScaling::llama3,
                                                     .factor = 4,
                                                     .original_positions = 60}};
constexpr ra::AttentionLayerOptions others{.width = 6,
                                           .heads = 4,
                                           .key_value_heads = 2,
                                           .head_width = 6,
                                           .window = 5,
                                           .sinks = true,
                                           .query_key_norm = true,
                                           .rotary = {.on = true, .base = 100}};

using Body =
    ra::Sequential<ra::RingAttention<double, first>, ra::Stack<ra::RingAttention<double, others>, 2>>;
template <ra::Layout layout>
using Model = ra::Model<Body, 7, ra::Output::all, layout>;

/// The second of the layers of one type has no window.
template <class M>
M random_model() {
    M model;
    support::randomise(model);
    ra::for_each_parameter(model, [](std::string_view, auto& tensor) { tensor *= 0.5; });
    std::get<1>(model.body.layers).layers[1].window = 0;
    return model;
}

template <ra::Layout layout>
void check_ranks() {
    const auto model = random_model<Model<layout>>();
    for (const ra::Index seq_len : {1, 5, 40, 150}) {
        const support::ModelCase<Model<layout>> c(2, seq_len, 6);
        const auto alone = support::run(model, c.x, c.d_output);
        for (const int ranks : {1, 2, 3, 4, 7}) {
            INFO(support::name_of(layout), ", seq_len ", seq_len, ", ranks ", ranks);
            CHECK(support::same_bits(support::run_on_ranks(ranks, model, c.x, c.d_output), alone));
        }
    }
}

}  // namespace

TEST_CASE("rotary attention: ranks give the same bits in every layout, outputs and gradients") {
    check_ranks<ra::Layout::contiguous>();
    check_ranks<ra::Layout::zigzag>();
    check_ranks<ra::Layout::striped>();
}

TEST_CASE("rotary attention: layouts change results by rounding only") {
    const auto contiguous = random_model<Model<ra::Layout::contiguous>>();
    const auto zigzag = random_model<Model<ra::Layout::zigzag>>();
    const auto striped = random_model<Model<ra::Layout::striped>>();
    const auto x = tensors::normal<double, 3>({2, 150, 6}, 1);
    for (const ra::Sequences& sequences : {ra::Sequences{}, ra::Sequences{.document_starts = {0, 3, 90}}}) {
        const auto y = contiguous(x, sequences);
        CHECK(compare::relative_difference(zigzag(x, sequences), y) < 1e-13);
        CHECK(compare::relative_difference(striped(x, sequences), y) < 1e-13);
    }
}

TEST_CASE("rotary attention: a stream gives the whole forward pass, and positions of a document count anew") {
    const auto model = random_model<Model<ra::Layout::contiguous>>();
    const auto x = tensors::normal<double, 3>({2, 700, 6}, 1);
    for (const std::vector<ra::Index>& starts : {std::vector<ra::Index>{0}, {0, 1, 40, 300}}) {
        const auto whole = model(x, {.document_starts = starts});
        for (const std::vector<ra::Index>& sizes : {std::vector<ra::Index>{1, 3, 64}, {700}}) {
            ra::Stream stream{model, ra::StreamOptions{.batch = 2}};
            std::size_t turn = 0;
            for (std::size_t document = 0; document < starts.size(); ++document) {
                if (document > 0) stream.begin_document();
                const ra::Index end = document + 1 < starts.size() ? starts[document + 1] : 700;
                for (ra::Index done = starts[document], count; done < end; done += count) {
                    count = std::min(sizes[turn++ % sizes.size()], end - done);
                    const auto y = stream.push_all(tensors::slice(x, 1, done, count));
                    REQUIRE(compare::largest_difference(y, tensors::slice(whole, 1, done, count)) < 1e-12);
                }
            }
        }
    }
}

TEST_CASE("rotary attention: a stream keeps all tokens of a layer without a window, and few of the others") {
    const auto model = random_model<Model<ra::Layout::contiguous>>();
    using Stream = ra::Stream<Model<ra::Layout::contiguous>>;
    const Stream stream{model, ra::StreamOptions{.capacity = 3000}};
    const ra::Index of_first = 2 * 1 * 4, of_others = 2 * 2 * 6;
    CHECK(stream.bytes() == 8 * (of_first * 3000 + of_others * (4 + Stream::portion) + of_others * 3000));
}
