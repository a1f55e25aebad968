// What a stream on a ring keeps and sends, and what becomes of ranks that do not do the same.

#include <algorithm>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include <ring_attention/layers/sequential.hpp>
#include <ring_attention/models/build.hpp>
#include <ring_attention/models/stream.hpp>
#include <ring_attention/ring/thread/thread_ring.hpp>
#include <ring_attention/sequence/scatter.hpp>

#include "support/compare.hpp"
#include "support/error_message.hpp"
#include "support/tensors.hpp"

namespace models_stream_ring_costs {

namespace {

namespace ra = ring_attention;
using ra::Index;
using X = ra::Tensor<double, 3>;

/// Two layers whose keys and values take as much: one that sees all, and one with a window.
constexpr Index window = 1500;
constexpr ra::AttentionLayerOptions all_seen{.width = 4, .heads = 4, .key_value_heads = 2},
    windowed{.width = 4, .heads = 4, .key_value_heads = 2, .window = window};
template <ra::AttentionLayerOptions... layers>
using ModelOf = ra::Model<ra::Sequential<ra::RingAttention<double, layers>...>, ra::Output::all>;
using Model = ModelOf<all_seen, windowed>;
using Stream = ra::Stream<Model>;

constexpr Index batch = 2, heads = 4, value_width = 1, block = ra::StreamLayout::block,
                bytes_of_token = 2 * batch * 2 * 1 * 8;  // in a layer

template <class M = Model>
M random_model(Index num_chunks, std::uint64_t seed = 1) {
    M model{.body = {}, .num_chunks = num_chunks};
    ra::initialise(model, seed);
    return model;
}

X random_input(Index count) {
    return tensors::normal<double, 3>({batch, count, 4}, 1);
}

/// What each rank of so many says of itself: f(ring), a number.
std::vector<Index> of_ranks(int ranks, const auto& f) {
    std::vector<Index> numbers(static_cast<std::size_t>(ranks));
    ra::ThreadRing::run(ranks,
                        [&](ra::ThreadRing& ring) { numbers[std::size_t(ring.rank())] = Index(f(ring)); });
    return numbers;
}

}  // namespace

TEST_CASE("stream on a ring: each rank keeps its part of the keys and values") {
    using OneLayer = ModelOf<all_seen>;
    const auto model = random_model<OneLayer>(4);
    constexpr Index capacity = 8 * block;
    for (const int ranks : {1, 2, 4}) {
        CAPTURE(ranks);
        const std::vector<Index> stated = of_ranks(ranks, [&](auto& ring) {
            return ra::Stream{model, ring, {.batch = batch, .capacity = capacity}}.bytes();
        });
        CHECK(stated == std::vector<Index>(std::size_t(ranks), bytes_of_token * capacity / ranks));
        const auto pushed = of_ranks(ranks, [&](auto& ring) {
            ra::Stream stream{model, ring, {.batch = batch}};
            stream.push(random_input(block * 7 + 5));
            return stream.bytes();
        });
        for (int rank = 0; rank < ranks; ++rank) {
            const Index seats = 4 / ranks;
            CHECK(pushed[std::size_t(rank)] <= bytes_of_token * 2 * block * seats);
            CHECK(pushed[std::size_t(rank)] >= bytes_of_token * block * seats);
        }
        const std::vector<Index> prefilled = of_ranks(ranks, [&](auto& ring) {
            ra::Stream stream{model, ring, {.batch = batch}};
            const Index seq_len = 800;
            stream.prefill(ra::tokens_of(random_input(seq_len), model.share(ring, seq_len)));
            return stream.bytes();
        });
        CHECK(prefilled == std::vector<Index>(std::size_t(ranks), bytes_of_token * 800 / ranks));
    }
}

TEST_CASE("stream on a ring: with a window, each rank keeps its part of the window and a portion") {
    const auto model = random_model<ModelOf<windowed>>(4);
    for (const int ranks : {1, 2, 4}) {
        CAPTURE(ranks);
        const auto bytes = of_ranks(ranks, [&](auto& ring) {
            ra::Stream stream{model, ring, {.batch = batch}};
            Index most = 0;
            for (const Index count : {3000, 1, 700, 1, 2000}) {
                stream.push(random_input(count));
                most = std::max(most, stream.bytes());
            }
            return most;
        });
        // A seat has at most 2 blocks of the 1499 tokens before, and one of a portion.
        for (const Index of_rank : bytes) CHECK(of_rank == bytes_of_token * 4 / ranks * 3 * block);
    }
}

TEST_CASE("stream on a ring: what travels is a partial attention of each seat that has tokens to see") {
    const Model model = random_model(4);
    for (const int ranks : {1, 2, 4}) {
        CAPTURE(ranks);
        /// Sent for the last of so many tokens.
        const auto sent = [&](Index count, Index tokens, auto what) {
            return of_ranks(ranks, [&](auto& ring) {
                Stream stream{model, ring, {.batch = batch}};
                if (count > tokens) stream.push(random_input(count - tokens));
                const ra::Traffic before = ring.log().sent_on(ra::Channel::key_value);
                stream.push_all(random_input(tokens));
                const ra::Traffic after = ring.log().sent_on(ra::Channel::key_value);
                return what(after) - what(before);
            });
        };
        const auto bytes = [](const ra::Traffic& traffic) { return traffic.bytes; };
        const auto messages = [](const ra::Traffic& traffic) { return traffic.messages; };
        const Index seats = 4 / ranks, others = ranks - 1, layers = 2,
                    of_seat = layers * batch * heads * (value_width + 2) * 8;
        const auto all_ranks = [&](Index number) { return std::vector<Index>(std::size_t(ranks), number); };
        for (const Index tokens : {1, 10}) {
            CHECK(sent(4 * block, tokens, bytes) == all_ranks(tokens * of_seat * seats * others));
            CHECK(sent(4 * block, tokens, messages) == all_ranks(layers * others));
        }
        std::vector<Index> first = all_ranks(0);  // seat 0 alone has tokens
        first[0] = of_seat * others;
        CHECK(sent(block, 1, bytes) == first);
        first[0] = layers * others;
        CHECK(sent(block, 1, messages) == first);
    }
    const auto near =
        random_model<ModelOf<ra::AttentionLayerOptions{.width = 4, .heads = 4, .window = 8}>>(2);
    const auto sent = of_ranks(2, [&](auto& ring) {
        ra::Stream stream{near, ring, {.batch = batch}};
        stream.push(random_input(2 * block));
        const auto before = ring.log().sent_on(ra::Channel::key_value).bytes;
        stream.push(random_input(8));
        return ring.log().sent_on(ra::Channel::key_value).bytes - before;
    });
    CHECK(sent[0] == batch * heads * (value_width + 2) * 8);  // the last token sees those of seat 0 alone
    CHECK(sent[1] == 0);
}

namespace {

/// What all ranks of three say, of which each does f(stream, ring); and afterwards they go on as ever.
std::string refusal(const auto& f, Index before = 5) {
    const Model model = random_model(3);
    const X x = random_input(before + 2);
    const X whole = model(x);
    std::vector<std::string> messages(3);
    ra::ThreadRing::run(3, [&](ra::ThreadRing& ring) {
        Stream stream{model, ring, {.batch = batch, .capacity = before + 2}};
        if (before > 0) stream.push(tensors::slice(x, 1, 0, before));
        messages[std::size_t(ring.rank())] = support::error_message([&] { f(stream, ring.rank()); });
        if (stream.size() == before &&
            compare::largest_difference(stream.push_all(tensors::slice(x, 1, before, 2)),
                                        tensors::slice(whole, 1, before, 2)) > 1e-13)
            throw ra::Error("other numbers");
    });
    CHECK(messages[0] == messages[1]);
    CHECK(messages[0] == messages[2]);
    return messages[0];
}

}  // namespace

TEST_CASE("stream on a ring: ranks that push other tokens, or otherwise, find out before anything changes") {
    CHECK(refusal([](Stream& stream, int rank) {
              X x = random_input(2);
              if (rank == 1) x(1, 1, 2) = -x(1, 1, 2);
              stream.push(x);
          }) == "rank 1 has other x than rank 0");
    CHECK(refusal([](Stream& stream, int rank) { stream.push(random_input(rank == 2 ? 1 : 2)); }) ==
          "rank 2 has tokens 1, expected that of rank 0, 2");
    CHECK(refusal([](Stream& stream, int rank) {
              if (rank == 2)
                  stream.push_all(random_input(1));
              else
                  stream.push(random_input(1));
          }) == "rank 2 has the call push_all, expected that of rank 0, push");
    CHECK(refusal([](Stream& stream, int rank) {
              if (rank == 1)
                  stream.prefill(random_input(1));
              else
                  stream.push(random_input(1));
          }) == "rank 1 has the call prefill, expected that of rank 0, push");
    CHECK(refusal([](Stream& stream, int rank) { stream.push(X(rank == 1 ? 1 : batch, 1, 4)); }) ==
          "rank 1 has batch 1, expected that of rank 0, 2");
    CHECK(refusal([](Stream& stream, int rank) { stream.push(X(batch, 1, rank == 0 ? 4 : 5)); }) ==
          "rank 1 has width 5, expected that of rank 0, 4");
}

TEST_CASE("stream on a ring: a rank that has begun anew by itself is found out") {
    const Model model = random_model(3);
    CHECK(support::error_message([&] {
              ra::ThreadRing::run(3, [&](ra::ThreadRing& ring) {
                  Stream stream{model, ring, {.batch = batch}};
                  stream.push(random_input(5));
                  if (ring.rank() == 1) stream.reset();
                  stream.push(random_input(1));
              });
          }) == "rank 1 has size 0, expected that of rank 0, 5");
}

TEST_CASE("stream on a ring: what is refused without a ring is refused on it, on all ranks alike") {
    CHECK(refusal([](Stream& stream, int) { stream.push(X(batch, 1, 5)); }) ==
          "x has shape [2, 1, 5], expected [2, 1, 4]");
    CHECK(refusal([](Stream& stream, int) { stream.push(random_input(3)); }) ==
          "push: 3 tokens after 5, expected at most 7 in all, the capacity");
    CHECK(refusal([](Stream& stream, int) { stream.prefill(random_input(1)); }) ==
          "prefill: the stream has 5 tokens already, expected none");
    CHECK(refusal([](Stream& stream, int) { stream.prefill(X(3, 1, 4)); }, 0) ==
          "prefill: x has a batch of 3, expected 2");
    CHECK(refusal([](Stream& stream, int) { stream.prefill(random_input(1)); }, 0) ==
          "push: 3 tokens after 0, expected at most 2 in all, the capacity");
    ra::LocalRing other;
    CHECK(refusal([&](Stream& stream, int) { stream.prefill(random_input(1), other); }, 0) ==
          "prefill: the stream has a ring, expected that no other is given");
}

TEST_CASE("stream on a ring: ranks with other models or options do not get a stream") {
    const auto refused = [](int ranks, const auto& make) {
        return support::error_message([&] { ra::ThreadRing::run(ranks, make); });
    };
    const auto options_of = [&](auto&& change) {
        return refused(3, [&](ra::ThreadRing& ring) {
            Model model = random_model(3);
            ra::StreamOptions options{.batch = batch, .capacity = 6};
            if (ring.rank() == 1) change(model, options);
            Stream{model, ring, options};
        });
    };
    CHECK(options_of([](Model&, ra::StreamOptions& options) { options.batch = 0; }) ==
          "rank 1 has batch 0, expected that of rank 0, 2");
    CHECK(options_of([](Model&, ra::StreamOptions& options) { options.capacity = 7; }) ==
          "rank 1 has capacity 7, expected that of rank 0, 6");
    CHECK(options_of([](Model& model, ra::StreamOptions&) { model.num_chunks = 4; }) ==
          "rank 1 has num_chunks 4, expected that of rank 0, 3");
    CHECK(options_of([](Model& model, ra::StreamOptions&) { model = random_model(3, 2); }) ==
          "rank 1 has other weights than rank 0");
    CHECK(refused(2, [&](ra::ThreadRing& ring) {
              if (ring.rank() == 1) {
                  const auto other = random_model<ModelOf<windowed>>(3);
                  ra::Stream{other, ring};
              } else {
                  const Model model = random_model(3);
                  ra::Stream{model, ring};
              }
          }) == "rank 1 has other options than rank 0");
    CHECK(refused(3, [](ra::ThreadRing& ring) {
              const Model model = random_model(2);
              Stream{model, ring};
          }) == "3 ranks on 2 seats (num_chunks), expected at least one seat a rank");
    CHECK(refused(2, [](ra::ThreadRing& ring) {
              Model model = random_model(2);
              Stream stream{model, ring, {.batch = batch}};
              model.num_chunks = 3;
              stream.prefill(random_input(1));
          }) == "prefill: the model has num_chunks 3, expected 2, as when the stream was made");
}

TEST_CASE("stream on a ring: where a rank fails, the others do not wait for it") {
    const Model model = random_model(3);
    CHECK(support::error_message([&] {
              ra::ThreadRing::run(3, [&](ra::ThreadRing& ring) {
                  Stream stream{model, ring, {.batch = batch}};
                  for (Index t = 0; t < 5; ++t) {
                      if (ring.rank() == 1 && t == 3) throw ra::Error("a pipe has burst");
                      stream.push(random_input(1));
                  }
              });
          }) == "a pipe has burst");
}

}  // namespace models_stream_ring_costs
