// What attention sends, to the byte: the formulas, what the ring counted, and what one can see without
// either.

#include <mutex>
#include <numeric>
#include <vector>

#include <doctest/doctest.h>

#include <ring_attention/attention/operator.hpp>
#include <ring_attention/attention/traffic.hpp>
#include <ring_attention/ring/thread/thread_ring.hpp>

#include "support/layouts.hpp"

namespace {

namespace ra = ring_attention;
using ra::Index;

/// What the ranks of a ring send, one a rank.
struct Sent {
    std::vector<ra::Traffic> forward, backward, gradient;

    explicit Sent(int ranks)
        : forward(std::size_t(ranks)), backward(std::size_t(ranks)), gradient(std::size_t(ranks)) {}
};

ra::Traffic minus(const ra::Traffic& a, const ra::Traffic& b) {
    return {a.messages - b.messages, a.bytes - b.bytes};
}

/// As the ring counts it.
Sent counted(const ra::ChunkLayout& layout, int ranks, const ra::HeadShape& shape, bool causal) {
    Sent sent(ranks);
    const ra::AttentionOptions options{
        .num_chunks = layout.num_seats(), .causal = causal, .layout = layout.layout()};
    ra::ThreadRing::run(ranks, [&](ra::ThreadRing& ring) {
        const auto rank = std::size_t(ring.rank());
        ra::Tensor<float, 4> x(shape.batch, shape.heads, ra::Share(layout, ring.rank(), ranks).num_tokens(),
                               shape.head_dim);
        x.setConstant(1);
        const auto key_value = [&] { return ring.log().sent_on(ra::Channel::key_value); };
        const auto result = ra::attention(x, x, x, options, ring);
        sent.forward[rank] = key_value();
        if (ring.log().sent_on(ra::Channel::gradient) != ra::Traffic{}) throw ra::Error("gradients, forward");
        ra::attention_backward(x, x, x, x, result, options, ring);
        sent.backward[rank] = minus(key_value(), sent.forward[rank]);
        sent.gradient[rank] = ring.log().sent_on(ra::Channel::gradient);
    });
    return sent;
}

/// As the formulas say.
template <class T>
Sent expected(const ra::ChunkLayout& layout, int ranks, const ra::HeadShape& shape, bool causal) {
    Sent sent(ranks);
    for (int rank = 0; rank < ranks; ++rank) {
        const ra::Share share(layout, rank, ranks);
        sent.forward[std::size_t(rank)] = ra::key_value_traffic<T>(share, shape, {causal});
        sent.gradient[std::size_t(rank)] = ra::gradient_traffic<T>(share, shape, {causal});
    }
    sent.backward = sent.forward;
    for (ra::Traffic& traffic : sent.backward) traffic.messages *= ra::messages_backward(shape);
    return sent;
}

ra::Traffic total(const std::vector<ra::Traffic>& ranks) {
    ra::Traffic all;
    for (const ra::Traffic& traffic : ranks) {
        all.messages += traffic.messages;
        all.bytes += traffic.bytes;
    }
    return all;
}

/// Keys and values of so many tokens.
std::uint64_t bytes_of(std::uint64_t tokens, const ra::HeadShape& shape, std::size_t number_size = 4) {
    return 2 * tokens * std::uint64_t(shape.batch * shape.heads * shape.head_dim) * number_size;
}

/// Calls f(layout, ranks) for all layouts, rings up to 6 and lengths from fewer tokens than seats on.
template <class F>
void for_each_ring(const std::vector<Index>& seq_lens, const F& f) {
    for (const ra::Layout layout : support::every_layout)
        for (const Index seq_len : seq_lens)
            for (const int num_seats : {1, 2, 3, 6})
                for (int ranks = 1; ranks <= num_seats; ++ranks) {
                    INFO(support::name_of(layout), ", ", seq_len, " tokens at ", num_seats, " seats, ", ranks,
                         " ranks");
                    f(ra::ChunkLayout(seq_len, num_seats, layout), ranks);
                }
}

}  // namespace

TEST_CASE("traffic: the formulas say what the ring counts, of every rank") {
    constexpr ra::HeadShape shapes[] = {{1, 1, 3}, {1, 5, 2}, {2, 2, 3}, {1, 3, 1}};
    std::size_t turn = 0;
    for_each_ring({1, 2, 5, 7, 12, 30}, [&](const ra::ChunkLayout& layout, int ranks) {
        for (const bool causal : {true, false}) {
            const ra::HeadShape& shape = shapes[turn++ % 4];
            INFO(shape.batch, " x ", shape.heads, " heads, causal ", causal);
            const Sent count = counted(layout, ranks, shape, causal),
                       formula = expected<float>(layout, ranks, shape, causal);
            CHECK(count.forward == formula.forward);
            CHECK(count.backward == formula.backward);
            CHECK(count.gradient == formula.gradient);
        }
    });
}

TEST_CASE("traffic: without a mask, P - 1 times all keys and values, and P times all gradients") {
    const ra::HeadShape shape{2, 3, 5};  // 6 heads: 4 messages
    for_each_ring({12, 13, 100}, [&](const ra::ChunkLayout& layout, int ranks) {
        const auto seq_len = std::uint64_t(layout.seq_len()), others = std::uint64_t(ranks - 1);
        const Sent sent = expected<float>(layout, ranks, shape, false);
        CHECK(total(sent.forward) ==
              ra::Traffic{others * std::uint64_t(ranks), others * bytes_of(seq_len, shape)});
        const std::uint64_t hops = ranks == 1 ? 0 : std::uint64_t(ranks);
        CHECK(total(sent.gradient) == ra::Traffic{4 * hops * hops, hops * bytes_of(seq_len, shape)});

        const Sent in_double = expected<double>(layout, ranks, shape, false);
        CHECK(total(in_double.forward).bytes == others * bytes_of(seq_len, shape, 8));
        CHECK(total(in_double.gradient).bytes == hops * bytes_of(seq_len, shape, 8));
    });
}

TEST_CASE(
    "traffic: causal and contiguous, nobody sends the last rank's keys and values, nor their gradients") {
    const ra::HeadShape shape{1, 2, 5};
    for_each_ring({12, 13, 100}, [&](const ra::ChunkLayout& layout, int ranks) {
        if (layout.layout() != ra::Layout::contiguous) return;
        const Index last = ra::Share(layout, ranks - 1, ranks).num_tokens();
        const auto others = std::uint64_t(ranks - 1);
        const std::uint64_t bytes = bytes_of(std::uint64_t(layout.seq_len() - last), shape);
        const Sent sent = expected<float>(layout, ranks, shape, true);
        CHECK(total(sent.forward) == ra::Traffic{others * others, others * bytes});
        CHECK(total(sent.gradient) ==
              ra::Traffic{2 * others * std::uint64_t(ranks), ranks == 1 ? 0 : std::uint64_t(ranks) * bytes});
    });
}

TEST_CASE("traffic: causal, zigzag and striped, everybody needs a part of everything") {
    const ra::HeadShape shape{1, 2, 5};
    for_each_ring({12, 13, 100}, [&](const ra::ChunkLayout& layout, int ranks) {
        if (layout.layout() == ra::Layout::contiguous) return;
        const Sent causal = expected<float>(layout, ranks, shape, true),
                   all = expected<float>(layout, ranks, shape, false);
        CHECK(causal.forward == all.forward);
        CHECK(causal.gradient == all.gradient);
    });
}

TEST_CASE("traffic: what a rank sends is all but what it gets last") {
    const ra::HeadShape shape{1, 2, 5};
    for_each_ring({12, 13, 100}, [&](const ra::ChunkLayout& layout, int ranks) {
        for (int rank = 0; rank < ranks; ++rank) {
            const ra::Share share(layout, rank, ranks), before(layout, (rank + ranks - 1) % ranks, ranks);
            const auto tokens = std::uint64_t(layout.seq_len() - before.num_tokens());
            CHECK(ra::key_value_traffic<float>(share, shape, {false}) ==
                  ra::Traffic{std::uint64_t(ranks - 1), ranks == 1 ? 0 : bytes_of(tokens, shape)});
        }
    });
}
