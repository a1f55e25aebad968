// What attention sends, to the byte: the formulas, what the ring counted, and what one can see without
// either.

#include <algorithm>
#include <vector>

#include <doctest/doctest.h>

#include <ring_attention/attention/operator.hpp>
#include <ring_attention/attention/traffic.hpp>
#include <ring_attention/ring/thread/thread_ring.hpp>

#include "support/travel_case.hpp"

namespace attention_traffic {

namespace {

namespace ra = ring_attention;
using ra::Index;
using support::TravelCase;

/// What the ranks of a ring send, one a rank.
struct Sent {
    std::vector<ra::Traffic> forward, backward, gradient;

    explicit Sent(int ranks)
        : forward(std::size_t(ranks)), backward(std::size_t(ranks)), gradient(std::size_t(ranks)) {}
};

ra::Traffic minus(const ra::Traffic& a, const ra::Traffic& b) {
    return {a.messages - b.messages, a.bytes - b.bytes};
}

ra::AttentionOptions options_of(const TravelCase& c) {
    return {.num_chunks = c.seats,
            .causal = c.mask.causal,
            .layout = c.layout,
            .window = c.mask.window,
            .prefix = c.mask.prefix,
            .document_starts = {c.mask.document_starts.begin(), c.mask.document_starts.end()},
            .lengths = {c.mask.lengths.begin(), c.mask.lengths.end()},
            .query_offset = c.query_offset};
}

/// As the ring counts it.
Sent counted(const TravelCase& c) {
    Sent sent(c.ranks);
    const ra::AttentionOptions options = options_of(c);
    ra::ThreadRing::run(c.ranks, [&](ra::ThreadRing& ring) {
        const auto rank = std::size_t(ring.rank());
        const ra::AttentionPlan plan = c.plan(ring.rank());
        const auto ones = [&](Index heads, const ra::Share& share, Index width) {
            ra::Tensor<float, 4> x(c.heads.batch, heads, share.num_tokens(), width);
            x.setConstant(1);
            return x;
        };
        const auto q = ones(c.heads.heads, plan.queries, c.heads.key_width),
                   k = ones(c.heads.key_value_heads, plan.keys, c.heads.key_width),
                   v = ones(c.heads.key_value_heads, plan.keys, c.heads.value_width),
                   d_output = ones(c.heads.heads, plan.queries, c.heads.value_width);
        const auto key_value = [&] { return ring.log().sent_on(ra::Channel::key_value); };
        const auto result = ra::attention(q, k, v, options, ring);
        sent.forward[rank] = key_value();
        if (ring.log().sent_on(ra::Channel::gradient) != ra::Traffic{}) throw ra::Error("gradients, forward");
        ra::attention_backward(d_output, q, k, v, result, options, ring);
        sent.backward[rank] = minus(key_value(), sent.forward[rank]);
        sent.gradient[rank] = ring.log().sent_on(ra::Channel::gradient);
    });
    return sent;
}

/// As the formulas say.
template <class T = float>
Sent expected(const TravelCase& c) {
    Sent sent(c.ranks);
    for (int rank = 0; rank < c.ranks; ++rank) {
        const ra::AttentionPlan plan = c.plan(rank);
        const ra::Traffic key_value = ra::key_value_traffic<T>(plan);
        sent.forward[std::size_t(rank)] = key_value;
        sent.backward[std::size_t(rank)] = {key_value.messages * ra::messages_backward(plan),
                                            key_value.bytes};
        sent.gradient[std::size_t(rank)] = ra::gradient_traffic<T>(plan);
    }
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

constexpr ra::HeadShape shape{2, 6, 3, 5, 4};  // 6 key-value heads of all entries: 4 messages

/// Keys and values of so many tokens.
std::uint64_t bytes_of(Index tokens, std::size_t number_size = 4) {
    return std::uint64_t(tokens) * 2 * 3 * (5 + 4) * number_size;
}

/// Calls f(case of this mask) for rings of up to 6 ranks of one seat each or more.
template <class F>
void for_each_ring(ra::Layout layout, const ra::Mask& mask, const F& f) {
    for (const Index num_seats : {1, 2, 3, 6})
        for (int ranks = 1; ranks <= num_seats; ++ranks) {
            INFO(support::name_of(layout), ", ", mask.key_len, " tokens at ", num_seats, " seats, ", ranks,
                 " ranks");
            f(TravelCase{layout, ranks, num_seats, mask.key_len, mask.key_len, 0, shape, mask, ""});
        }
}

ra::Mask mask_of(Index key_len, bool causal) {
    ra::Mask mask;
    mask.key_len = key_len;
    mask.causal = causal;
    return mask;
}

Index tokens_of_rank(const TravelCase& c, int rank) {
    return c.plan(rank).keys.num_tokens();
}

}  // namespace

TEST_CASE("traffic: the formulas say what the ring counts, of every rank, whatever the mask") {
    std::size_t turn = 0;
    support::for_each_travel_case([&](const TravelCase& c) {
        if (turn++ % 5 != 0) return;
        const Sent count = counted(c), formula = expected(c);
        CHECK(count.forward == formula.forward);
        CHECK(count.backward == formula.backward);
        CHECK(count.gradient == formula.gradient);
    });
}

TEST_CASE("traffic: without a mask, P - 1 times all keys and values, and P times all gradients") {
    for (const ra::Layout layout : support::every_layout)
        for (const Index len : {12, 13, 100})
            for_each_ring(layout, mask_of(len, false), [&](const TravelCase& c) {
                const auto ranks = std::uint64_t(c.ranks), others = ranks - 1;
                const Sent sent = expected(c), in_double = expected<double>(c);
                CHECK(total(sent.forward) == ra::Traffic{others * ranks, others * bytes_of(len)});
                CHECK(total(in_double.forward).bytes == others * bytes_of(len, 8));
                const std::uint64_t hops = c.ranks == 1 ? 0 : ranks;
                CHECK(total(sent.gradient) == ra::Traffic{4 * hops * hops, hops * bytes_of(len)});
                CHECK(total(in_double.gradient).bytes == hops * bytes_of(len, 8));
                for (int rank = 0; rank < c.ranks; ++rank) {  // all but what it gets last
                    const Index last = tokens_of_rank(c, (rank + c.ranks - 1) % c.ranks);
                    CHECK(sent.forward[std::size_t(rank)] ==
                          ra::Traffic{others, c.ranks == 1 ? 0 : bytes_of(len - last)});
                }
            });
}

TEST_CASE("traffic: causal and contiguous, keys go to the ranks after their home, and gradients once more") {
    for (const Index len : {12, 13, 100})
        for_each_ring(ra::Layout::contiguous, mask_of(len, true), [&](const TravelCase& c) {
            ra::Traffic key_value, gradient;
            for (int home = 0; home + 1 < c.ranks; ++home) {
                const auto after = std::uint64_t(c.ranks - 1 - home),
                           bytes = bytes_of(tokens_of_rank(c, home));
                key_value.messages += after;
                key_value.bytes += after * bytes;
                gradient.messages += 4 * (after + 1);
                gradient.bytes += (after + 1) * bytes;
            }
            CHECK(total(expected(c).forward) == key_value);
            CHECK(total(expected(c).gradient) == gradient);
        });
}

TEST_CASE("traffic: causal, zigzag and striped, everybody needs a part of everything") {
    for (const ra::Layout layout : {ra::Layout::zigzag, ra::Layout::striped})
        for (const Index len : {12, 13, 100})
            for_each_ring(layout, mask_of(len, true), [&](const TravelCase& c) {
                TravelCase all = c;
                all.mask.causal = false;
                CHECK(expected(c).forward == expected(all).forward);
                CHECK(expected(c).gradient == expected(all).gradient);
            });
}

TEST_CASE("traffic: a window of less than a chunk reaches one rank back, however many there are") {
    for (const Index len : {60, 100, 601}) {
        ra::Mask mask = mask_of(len, true);
        mask.window = 8;
        for_each_ring(ra::Layout::contiguous, mask, [&](const TravelCase& c) {
            const auto others = std::uint64_t(c.ranks - 1);
            const std::uint64_t bytes = bytes_of(len - tokens_of_rank(c, c.ranks - 1));
            CHECK(total(expected(c).forward) == ra::Traffic{others, bytes});
            CHECK(total(expected(c).gradient) == ra::Traffic{4 * 2 * others, 2 * bytes});
        });
    }
}

TEST_CASE("traffic: documents that end where ranks do, and a window of one, need nothing of others") {
    ra::Mask documents = mask_of(60, false), window = mask_of(60, true);
    documents.document_starts = {0, 10, 20, 30, 40, 50};
    window.window = 1;
    for (const ra::Layout layout : support::every_layout)
        for (const ra::Mask& mask : {documents, window}) {
            if (mask.window == 0 && layout != ra::Layout::contiguous) continue;
            const TravelCase c{layout, 6, 6, 60, 60, 0, shape, mask, ""};
            const Sent sent = counted(c);
            CHECK(total(sent.forward) == ra::Traffic{});
            CHECK(total(sent.backward) == ra::Traffic{});
            CHECK(total(sent.gradient) == ra::Traffic{});
        }
}

}  // namespace attention_traffic
