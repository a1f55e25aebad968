// A stream gives what the whole forward pass gives for the tokens so far, however they are portioned out.

#include <limits>
#include <type_traits>
#include <vector>

#include <doctest/doctest.h>

#include <ring_attention/layers/gelu.hpp>
#include <ring_attention/layers/sequential.hpp>
#include <ring_attention/models/build.hpp>
#include <ring_attention/models/stream.hpp>

#include "support/compare.hpp"
#include "support/error_message.hpp"
#include "support/num_threads.hpp"
#include "support/tensors.hpp"

namespace models_stream {

namespace ra = ring_attention;

namespace {

/// Two attention layers of width 6 and one of width 4, with other heads.
using Block = ra::Block<double, ra::BlockOptions{.width = 6, .heads = 2, .dropout = 0.25f}>;
using Body = ra::Sequential<
    ra::Dense<double, 4, 6>, ra::PositionalEncoding<double, 6>, ra::Stack<Block, 2>, ra::Dense<double, 6, 4>,
    ra::RingAttention<double, ra::AttentionLayerOptions{.width = 4, .heads = 4}>, ra::Gelu<double, 4>>;
template <ra::Output output>
using Composed = ra::Model<Body, output>;
using All = Composed<ra::Output::all>;

constexpr ra::Options sequence_options{
    .embed_dim = 5, .hidden_size = 8, .num_heads = 2, .num_chunks = 3, .num_layers = 2};
constexpr ra::LanguageOptions language_options{
    .vocabulary = 11, .hidden_size = 8, .num_heads = 2, .num_chunks = 4, .num_layers = 2};

using Sequences = ra::Tensor<double, 3>;
using Tokens = ra::Tensor<ra::Token, 2>;

constexpr double rounding_float = 2e-6, rounding_double = 1e-13;

template <class M>
M random_model(ra::Layout layout = ra::Layout::contiguous) {
    M model{.body = {}, .num_chunks = 3, .layout = layout};
    ra::initialise(model, 3);
    return model;
}

Sequences random_input(ra::Index batch, ra::Index count) {
    return tensors::normal<double, 3>({batch, count, Body::in_width}, 1);
}

Tokens random_tokens(ra::Index batch, ra::Index count) {
    Tokens tokens(batch, count);
    inputs::Numbers numbers(5);
    for (ra::Index i = 0; i < tokens.size(); ++i) tokens.data()[i] = ra::Token(numbers.bits() % 11);
    return tokens;
}

/// The outputs at all tokens, pushed in portions of these sizes again and again.
template <class M, class X>
ra::Tensor<typename M::Scalar, 3> push_in_portions(ra::Stream<M>& stream, const X& x,
                                                   const std::vector<ra::Index>& sizes) {
    std::vector<ra::Tensor<typename M::Scalar, 3>> outputs;
    std::size_t turn = 0;
    for (ra::Index done = 0, count; done < x.dimension(1); done += count) {
        count = std::min(sizes[turn++ % sizes.size()], x.dimension(1) - done);
        outputs.push_back(stream.push_all(tensors::slice(x, 1, done, count)));
    }
    return tensors::join(outputs, 1);
}

template <class T>
ra::Tensor<T, 2> at_token(const ra::Tensor<T, 3>& outputs, ra::Index t) {
    return outputs.chip(t, 1);
}

}  // namespace

// It would not outlive the stream.
static_assert(!std::is_constructible_v<ra::Stream<All>, All>);

TEST_CASE("stream: token by token it gives the whole forward pass, with a capacity and without") {
    const All model = random_model<All>();
    for (const ra::Index batch : {1, 3})
        for (const ra::Index capacity : {0, 150}) {
            const Sequences x = random_input(batch, 150);
            const auto whole = model(x);
            ra::Stream stream{model, ra::StreamOptions{.batch = batch, .capacity = capacity}};
            for (ra::Index t = 0; t < x.dimension(1); ++t) {
                CHECK(stream.size() == t);
                const auto y = stream.push(x.chip(t, 1));
                CHECK(y.dimension(0) == batch);
                CHECK(y.dimension(1) == Body::out_width);
                CHECK(compare::largest_difference(y, at_token(whole, t)) < rounding_double);
            }
        }
}

TEST_CASE("stream: in any portions it gives the whole forward pass") {
    const All model = random_model<All>();
    const Sequences x = random_input(2, 300);
    const auto whole = model(x);
    for (const std::vector<ra::Index>& sizes :
         std::vector<std::vector<ra::Index>>{{1}, {7}, {64}, {65}, {1, 7, 64, 65, 2}, {300}}) {
        ra::Stream stream{model, ra::StreamOptions{.batch = 2}};
        CHECK(compare::largest_difference(push_in_portions(stream, x, sizes), whole) < rounding_double);
        CHECK(stream.size() == 300);
    }
}

TEST_CASE("stream: more tokens at once than its own portions hold") {
    const All model = random_model<All>();
    const ra::Index count = 2 * ra::Stream<All>::portion + 5;
    const Sequences x = random_input(2, count + 1);
    const auto whole = model(x);
    ra::Stream stream{model, ra::StreamOptions{.batch = 2}};
    CHECK(compare::largest_difference(stream.push_all(tensors::slice(x, 1, 0, count)),
                                      tensors::slice(whole, 1, 0, count)) < rounding_double);
    CHECK(compare::largest_difference(stream.push(x.chip(count, 1)), at_token(whole, count)) <
          rounding_double);
    stream.reset();
    CHECK(compare::largest_difference(stream.push(x), at_token(whole, count)) < rounding_double);
}

TEST_CASE("stream: the mean is that over the tokens so far") {
    using Mean = Composed<ra::Output::mean_pool>;
    const Mean model = random_model<Mean>();
    const Sequences x = random_input(2, 70);
    const auto mean_of_first = [&](ra::Index count) { return model(tensors::slice(x, 1, 0, count)); };
    ra::Stream stream{model, ra::StreamOptions{.batch = 2, .capacity = 70}};
    for (ra::Index t = 0; t < 5; ++t)
        CHECK(compare::largest_difference(stream.push(x.chip(t, 1)), mean_of_first(t + 1)) < rounding_double);
    const auto rest = stream.push_all(tensors::slice(x, 1, 5, 65));
    for (const ra::Index t : {0, 1, 64})
        CHECK(compare::largest_difference(at_token(rest, t), mean_of_first(5 + t + 1)) < rounding_double);
    stream.reset();
    CHECK(compare::largest_difference(stream.push(x), mean_of_first(70)) < rounding_double);
}

TEST_CASE("stream: a sequence model gives the last timestep of the tokens so far") {
    const auto model = ra::build<sequence_options>(3);
    const auto x = tensors::normal<float, 3>({3, 70, 5}, 1);
    ra::Stream stream{model, ra::StreamOptions{.batch = 3}};
    for (ra::Index t = 0; t < 70; ++t)
        CHECK(compare::largest_difference(stream.push(x.chip(t, 1)), model(tensors::slice(x, 1, 0, t + 1))) <
              rounding_float);
}

TEST_CASE("stream: a language model takes tokens, one or many") {
    const auto model = ra::build<language_options>(3);
    const Tokens tokens = random_tokens(3, 140);
    const auto whole = model(tokens);
    ra::Stream three{model, ra::StreamOptions{.batch = 3}};
    CHECK(compare::largest_difference(push_in_portions(three, tokens, {1, 7, 64, 65}), whole) <
          rounding_float);
    three.reset();
    for (ra::Index t = 0; t < 5; ++t)
        CHECK(compare::largest_difference(three.push(tokens.chip(t, 1)), at_token(whole, t)) <
              rounding_float);

    ra::Stream one{model};
    const auto of_first = [&](ra::Index t) { return at_token(tensors::slice(whole, 0, 0, 1), t); };
    CHECK(compare::largest_difference(one.push(tensors::slice(tensors::slice(tokens, 0, 0, 1), 1, 0, 100)),
                                      of_first(99)) < rounding_float);
    for (ra::Index t = 100; t < 140; ++t)
        CHECK(compare::largest_difference(one.push(tokens(0, t)), of_first(t)) < rounding_float);
}

TEST_CASE("stream: after a reset it gives the same bits as the first time, whatever was pushed") {
    const All model = random_model<All>();
    const Sequences x = random_input(2, 100);
    for (const ra::Index capacity : {0, 200}) {
        ra::Stream stream{model, ra::StreamOptions{.batch = 2, .capacity = capacity}};
        const auto first = push_in_portions(stream, x, {30, 1, 1});
        Sequences wild = random_input(2, 100);
        wild.setConstant(std::numeric_limits<double>::quiet_NaN());
        stream.push(wild);
        CHECK(stream.size() == 200);
        stream.reset();
        CHECK(stream.size() == 0);
        CHECK(compare::same_bits(push_in_portions(stream, x, {30, 1, 1}), first));
    }
}

TEST_CASE("stream: a copy goes on by itself") {
    const All model = random_model<All>();
    const Sequences x = random_input(1, 20), other = tensors::normal<double, 3>({1, 10, 4}, 9);
    ra::Stream stream{model};
    stream.push(tensors::slice(x, 1, 0, 10));
    ra::Stream copy = stream;
    copy.push(other);
    CHECK(copy.size() == 20);
    CHECK(stream.size() == 10);
    CHECK(compare::largest_difference(stream.push(tensors::slice(x, 1, 10, 10)), at_token(model(x), 19)) <
          rounding_double);
}

TEST_CASE("stream: the number of threads does not change the bits") {
    const All model = random_model<All>();
    const Sequences x = random_input(3, 200);
    const auto outputs_with = [&](int threads) {
        const support::NumThreads working(threads);
        ra::Stream stream{model, ra::StreamOptions{.batch = 3}};
        return push_in_portions(stream, x, {1, 1, 130});
    };
    const auto alone = outputs_with(1);
    for (const int threads : {2, 3}) CHECK(compare::same_bits(outputs_with(threads), alone));
}

TEST_CASE("stream: a NaN changes no output before it, nor of another sequence") {
    const All model = random_model<All>();
    const Sequences x = random_input(2, 40);
    Sequences wild = x;
    wild(1, 20, 2) = std::numeric_limits<double>::quiet_NaN();
    for (const std::vector<ra::Index>& sizes : std::vector<std::vector<ra::Index>>{{1}, {40}}) {
        ra::Stream stream{model, ra::StreamOptions{.batch = 2}};
        const auto tame_outputs = push_in_portions(stream, x, sizes);
        stream.reset();
        const auto wild_outputs = push_in_portions(stream, wild, sizes);
        const auto same = [&](ra::Index b, ra::Index first, ra::Index count) {
            const auto part = [&](const auto& y) {
                return tensors::slice(tensors::slice(y, 0, b, 1), 1, first, count);
            };
            return compare::same_bits(part(tame_outputs), part(wild_outputs));
        };
        CHECK(same(0, 0, 40));
        CHECK(same(1, 0, 20));
        for (ra::Index t = 20; t < 40; ++t) CHECK(std::isnan(wild_outputs(1, t, 0)));
    }
}

TEST_CASE("stream: it uses the memory that it states") {
    const All model = random_model<All>();
    constexpr ra::Index width_of_all_layers = 6 + 6 + 4;
    const auto bytes = [](ra::Index tokens) { return 2 * 3 * width_of_all_layers * tokens * 8; };

    ra::Stream stated{model, ra::StreamOptions{.batch = 3, .capacity = 50}};
    CHECK(stated.capacity() == 50);
    CHECK(stated.bytes() == bytes(50));
    stated.push(random_input(3, 50));
    CHECK(stated.bytes() == bytes(50));

    ra::Stream growing{model, ra::StreamOptions{.batch = 3}};
    CHECK(growing.bytes() == 0);
    for (ra::Index t = 1; t <= 40; ++t) {
        growing.push(random_input(3, 1));
        CHECK(growing.capacity() >= t);
        CHECK(growing.capacity() <= 2 * t);
        CHECK(growing.bytes() == bytes(growing.capacity()));
    }
    growing.push(random_input(3, 200));
    CHECK(growing.bytes() == bytes(240));
    growing.reset();
    CHECK(growing.bytes() == bytes(240));
}

TEST_CASE("stream: what it refuses leaves it as it was") {
    const All model = random_model<All>();
    const Sequences x = random_input(2, 6);
    ra::Stream stream{model, ra::StreamOptions{.batch = 2, .capacity = 6}};
    stream.push(tensors::slice(x, 1, 0, 4));
    CHECK_REFUSES(stream.push(ra::Tensor<double, 2>(2, 5)), "x_t", "[2, 5]", "[2, 4]");
    CHECK_REFUSES(stream.push(ra::Tensor<double, 2>(1, 4)), "x_t", "[1, 4]", "[2, 4]");
    CHECK_REFUSES(stream.push(Sequences(2, 1, 5)), "x has", "[2, 1, 5]", "[2, 1, 4]");
    CHECK_REFUSES(stream.push(Sequences(3, 2, 4)), "x has", "[3, 2, 4]", "[2, 2, 4]");
    CHECK_REFUSES(stream.push(Sequences(2, 0, 4)), "x has", "[2, 0, 4]", "at least 1 token");
    CHECK_REFUSES(stream.push_all(Sequences(2, 0, 4)), "x has", "[2, 0, 4]", "at least 1 token");
    CHECK_REFUSES(stream.push(random_input(2, 3)), "3 tokens after 4", "at most 6");
    CHECK_REFUSES(stream.push_all(random_input(2, 3)), "3 tokens after 4", "at most 6");
    CHECK(stream.size() == 4);
    CHECK(compare::largest_difference(stream.push_all(tensors::slice(x, 1, 4, 2)),
                                      tensors::slice(model(x), 1, 4, 2)) < rounding_double);
    CHECK_REFUSES(stream.push(x.chip(0, 1)), "after 6", "at most 6");
    CHECK(stream.capacity() == 6);
    constexpr ra::Index too_many = std::numeric_limits<ra::Index>::max();
    CHECK_THROWS_AS((ra::Stream{model, ra::StreamOptions{.capacity = too_many}}), std::bad_alloc);
    CHECK_REFUSES((ra::Stream{model, ra::StreamOptions{.batch = 0}}), "StreamOptions", "batch is 0");
    CHECK_REFUSES((ra::Stream{model, ra::StreamOptions{.capacity = -1}}), "StreamOptions", "capacity is -1");
}

TEST_CASE("stream: a batch that no memory holds is refused") {
    const auto of_tokens = ra::build<language_options>(3);
    const All of_vectors = random_model<All>();
    constexpr ra::Index one = 1;
    for (const ra::Index batch : {(one << 55) + 1, one << 55, one << 61, (one << 60) + 1, (one << 62) + 1,
                                  std::numeric_limits<ra::Index>::max()})
        for (const ra::Index capacity : {one * 0, one, one << 30, one << 62}) {
            const ra::StreamOptions options{.batch = batch, .capacity = capacity};
            CHECK_THROWS_AS((ra::Stream{of_tokens, options}), std::bad_alloc);
            CHECK_THROWS_AS((ra::Stream{of_vectors, options}), std::bad_alloc);
        }
    for (const ra::Index capacity : {one << 55, one << 61, std::numeric_limits<ra::Index>::max()})
        CHECK_THROWS_AS((ra::Stream{of_vectors, ra::StreamOptions{.capacity = capacity}}), std::bad_alloc);
    ra::Stream stream{of_tokens, ra::StreamOptions{.batch = 8}};
    CHECK_REFUSES(stream.push(Tokens(8, one << 61)), "x has shape", "2305843009213693952");
    CHECK_REFUSES(of_tokens(Tokens(8, one << 61)), "x has shape", "2305843009213693952");
    CHECK_REFUSES(of_vectors(Sequences(one << 61, 2, Body::in_width)), "x has shape", "2305843009213693952");
}

/// A stream of the model is that of a contiguous one with the same weights, to the bit, and gives the whole
/// pass.
template <class M>
void check_layout(const M& model, const auto& contiguous, const auto& x, double rounding) {
    ra::Stream<M> stream{model, ra::StreamOptions{.batch = x.dimension(0)}};
    ra::Stream<std::remove_cvref_t<decltype(contiguous)>> expected{
        contiguous, ra::StreamOptions{.batch = x.dimension(0)}};
    const auto outputs = push_in_portions(stream, x, {1, 7});
    CHECK(compare::same_bits(outputs, push_in_portions(expected, x, {1, 7})));
    const ra::Index last = x.dimension(1) - 1;
    if constexpr (M::output_kind == ra::Output::all)
        CHECK(compare::largest_difference(outputs, model(x)) < rounding);
    else
        CHECK(compare::largest_difference(at_token(outputs, last), model(x)) < rounding);
}

TEST_CASE("stream: of a model of every layout") {
    const Sequences x = random_input(2, 40);
    using Mean = Composed<ra::Output::mean_pool>;
    check_layout(random_model<All>(ra::Layout::zigzag), random_model<All>(), x, rounding_double);
    check_layout(random_model<Mean>(ra::Layout::striped), random_model<Mean>(), x, rounding_double);

    constexpr auto of_layout = [](ra::Layout layout) {
        ra::LanguageOptions options = language_options;
        options.layout = layout;
        return options;
    };
    const auto tokens = random_tokens(2, 40);
    const auto contiguous = ra::build<language_options>(3);
    check_layout(ra::build<of_layout(ra::Layout::zigzag)>(3), contiguous, tokens, rounding_float);
    check_layout(ra::build<of_layout(ra::Layout::striped)>(3), contiguous, tokens, rounding_float);
}

TEST_CASE("stream: tokens that are not in the vocabulary leave it as it was") {
    const auto model = ra::build<language_options>(3);
    const Tokens tokens = random_tokens(1, 9);
    ra::Stream stream{model};
    stream.push(tensors::slice(tokens, 1, 0, 8));
    Tokens wrong = tokens;
    wrong(0, 8) = 11;
    CHECK_REFUSES(stream.push(11), "token 11", "0 to 10");
    CHECK_REFUSES(stream.push(-1), "token -1", "0 to 10");
    CHECK_REFUSES(stream.push(wrong), "token 11", "0 to 10");
    CHECK_REFUSES(stream.push(random_tokens(2, 1).chip(0, 1)), "x_t", "[2]", "[1]");
    CHECK_REFUSES((ra::Stream{model, ra::StreamOptions{.batch = 2}}.push(1)), "x_t", "[1]", "[2]");
    CHECK(stream.size() == 8);
    CHECK(compare::largest_difference(stream.push(tokens(0, 8)), at_token(model(tokens), 8)) <
          rounding_float);
}

}  // namespace models_stream
