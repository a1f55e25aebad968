// Models of rotary positions, norms of queries and keys, and layers with windows of their own: on ranks and
// in streams.

#include <algorithm>
#include <vector>

#include <doctest/doctest.h>

#include <ring_attention/layers/sequential.hpp>
#include <ring_attention/layers/stack.hpp>
#include <ring_attention/models/stream.hpp>

#include "support/error_message.hpp"
#include "support/layer_case.hpp"
#include "support/layouts.hpp"
#include "support/model_run.hpp"

namespace models_rotary_attention {

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
using Model = ra::Model<Body, ra::Output::all>;

/// The second of the layers of one type has no window.
Model random_model(ra::Layout layout = ra::Layout::contiguous) {
    Model model{.body = {}, .num_chunks = 7, .layout = layout};
    support::randomise(model);
    ra::for_each_parameter(model, [](std::string_view, auto& tensor) { tensor *= 0.5; });
    std::get<1>(model.body.layers).layers[1].window = 0;
    return model;
}

void check_ranks(ra::Layout layout) {
    const Model model = random_model(layout);
    for (const ra::Index seq_len : {1, 5, 40, 150}) {
        const support::ModelCase<Model> c(2, seq_len, 6);
        const auto alone = support::run(model, c.x, c.d_output);
        for (const int ranks : {1, 2, 3, 4, 7}) {
            INFO(support::name_of(layout), ", seq_len ", seq_len, ", ranks ", ranks);
            CHECK(support::same_bits(support::run_on_ranks(ranks, model, c.x, c.d_output), alone));
        }
    }
}

}  // namespace

TEST_CASE("rotary attention: ranks give the same bits in every layout, outputs and gradients") {
    for (const ra::Layout layout : support::every_layout) check_ranks(layout);
}

TEST_CASE("rotary attention: layouts change results by rounding only") {
    const auto x = tensors::normal<double, 3>({2, 150, 6}, 1);
    for (const ra::Sequences& sequences : {ra::Sequences{}, ra::Sequences{.document_starts = {0, 3, 90}}}) {
        const auto contiguous = random_model()(x, sequences);
        for (const ra::Layout layout : {ra::Layout::zigzag, ra::Layout::striped})
            CHECK(compare::relative_difference(random_model(layout)(x, sequences), contiguous) < 1e-13);
    }
}

TEST_CASE("rotary attention: a stream gives the whole forward pass, in documents too") {
    const Model model = random_model();
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

TEST_CASE("rotary attention: a stream refuses a window that was changed in its middle") {
    Model model = random_model();
    ra::Stream stream{model};
    const auto x = tensors::normal<double, 3>({1, 20, 6}, 1);
    stream.push(x);
    ra::Index& window = std::get<1>(model.body.layers).layers[0].window;
    window = 9;
    CHECK_REFUSES(stream.push(x), "window of an attention layer is 9", "expected 5");
    window = 5;
    CHECK_NOTHROW(stream.push(x));
}

TEST_CASE("rotary attention: a stream keeps all tokens of a layer without a window, and few of the others") {
    const Model model = random_model();
    using Stream = ra::Stream<Model>;
    const Stream stream{model, ra::StreamOptions{.capacity = 3000}};
    const ra::Index of_first = 2 * 1 * 4, of_others = 2 * 2 * 6;
    CHECK(stream.bytes() == 8 * (of_first * 3000 + of_others * (4 + Stream::portion) + of_others * 3000));
}

}  // namespace models_rotary_attention
