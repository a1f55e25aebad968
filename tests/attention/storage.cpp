// Keys and values that are kept and sent as bfloat16: the bits of plain attention on keys and values that
// were rounded before, half the bytes. (Products of pairs give others: paired_products.cpp.)

#define RING_ATTENTION_BFLOAT16_PRODUCTS 0

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>
#include <type_traits>
#include <utility>

#include <doctest/doctest.h>

#include <ring_attention/attention/cached_attention.hpp>
#include <ring_attention/attention/operator.hpp>
#include <ring_attention/attention/seat_caches.hpp>
#include <ring_attention/attention/traffic.hpp>
#include <ring_attention/ring/thread/thread_ring.hpp>

#include "support/attention_case.hpp"
#include "support/bfloat16.hpp"
#include "support/compare.hpp"
#include "support/error_message.hpp"
#include "support/plain_bfloat16.hpp"
#include "support/tensors.hpp"

namespace {

namespace ra = ring_attention;
using ra::Index;
using support::AttentionCase;

constexpr ra::Storage bfloat16 = ra::Storage::bfloat16;

}  // namespace

TEST_CASE("storage: bfloat16 gives the bits of rounded keys and values for many tiles and wide rows") {
    for (const std::size_t width : {16, 64, 128})
        for (const ra::AttentionOptions& plain :
             {ra::AttentionOptions{.causal = false}, ra::AttentionOptions{},
              ra::AttentionOptions{.num_chunks = 3, .layout = ra::Layout::zigzag},
              ra::AttentionOptions{.window = 70}}) {
            CAPTURE(width);
            CAPTURE(plain.window);
            const AttentionCase<float> c({1, 1, 331, width}, support::Scores::ordinary);
            AttentionCase<float> before = c;
            before.k = support::rounded(c.k);
            before.v = support::rounded(c.v);
            ra::AttentionOptions options = plain;
            options.storage = bfloat16;
            CHECK(support::same_bits(support::run(c, options), support::run(before, plain)));
        }
}

TEST_CASE("storage: widened, bfloat16 is as accurate as can be expected of it") {
    support::check_accuracy_of_many(2);
}

TEST_CASE("storage: keys and values travel in 2 bytes a number, gradients as before") {
    constexpr int ranks = 3;
    constexpr Index tokens = 17, heads = 3, key_width = 5, value_width = 4;
    std::atomic<std::uint64_t> forward = 0, backward = 0, gradient = 0;
    ra::ThreadRing::run(ranks, [&](ra::ThreadRing& ring) {
        const ra::AttentionOptions options{.num_chunks = 5, .causal = false, .storage = bfloat16};
        const ra::Share share = ra::share(ring, tokens, options.num_chunks);
        const auto zeros = [&](Index width) {
            ra::Tensor<float, 4> x(1, heads, share.num_tokens(), width);
            x.setZero();
            return x;
        };
        const auto q = zeros(key_width), v = zeros(value_width);
        const auto sent = [&](ra::Channel channel) { return ring.log().sent_on(channel); };
        const auto result = ra::attention(q, q, v, options, ring);
        const ra::Traffic there = sent(ra::Channel::key_value);
        ra::attention_backward(v, q, q, v, result, options, ring);
        const ra::AttentionPlan plan =
            ra::plan_of<float>(options, share, share, {1, heads, heads, key_width, value_width});
        if (there != ra::key_value_traffic<float>(plan)) throw ra::Error("other traffic, forward");
        if (sent(ra::Channel::gradient) != ra::gradient_traffic<float>(plan))
            throw ra::Error("other traffic of gradients");
        forward += there.bytes;
        backward += sent(ra::Channel::key_value).bytes - there.bytes;
        gradient += sent(ra::Channel::gradient).bytes;
    });
    const std::uint64_t numbers = tokens * heads * (key_width + value_width);
    CHECK(forward == (ranks - 1) * numbers * 2);
    CHECK(backward == (ranks - 1) * numbers * 2);
    CHECK(gradient == ranks * numbers * sizeof(float));
}

TEST_CASE("storage: ranks that differ in it are refused") {
    CHECK_REFUSES(
        ra::ThreadRing::run(
            2,
            [](ra::ThreadRing& ring) {
                ra::Tensor<float, 4> q(1, 1, 2, 2);
                q.setZero();
                ra::attention(
                    q, q, q,
                    {.num_chunks = 2, .storage = ring.rank() == 1 ? bfloat16 : ra::Storage::computing}, ring);
            }),
        "rank 1 has storage bfloat16", "rank 0, computing");
}

TEST_CASE("storage: a cache of bfloat16 takes 2 bytes a number, and has the bits of one of rounded numbers") {
    constexpr ra::HeadShape heads{2, 4, 2, 5, 8};
    constexpr Index seq_len = 200, portion = 63;
    const auto tensor = [&](Index of_heads, Index width, std::uint64_t seed) {
        return tensors::normal<float>(std::array<Index, 4>{heads.batch, of_heads, seq_len, width}, seed);
    };
    const auto query = tensor(heads.heads, heads.key_width, 1),
               key = tensor(heads.key_value_heads, heads.key_width, 2),
               value = tensor(heads.key_value_heads, heads.value_width, 3);
    const auto rounded_key = support::rounded(key), rounded_value = support::rounded(value);
    const auto at = [&](auto* numbers, Index of_heads, Index width, const ra::TokenPositions& tokens) {
        return ra::HeadsView<std::remove_pointer_t<decltype(numbers)>>::head_by_head(numbers, of_heads,
                                                                                     seq_len, width)
            .middle_tokens(tokens.first, tokens.count);
    };
    const ra::Share share(ra::ChunkLayout(seq_len, 1), 0, 1);
    for (const Index window : {0, 7, 80}) {
        CAPTURE(window);
        const ra::AttentionPlan plan =
            ra::plan_of<float>(ra::AttentionOptions{.window = window}, share, share, heads);
        /// What comes of a cache to which these are given, and its bytes.
        const auto outputs = [&](ra::Storage storage, const ra::Tensor<float, 4>& keys,
                                 const ra::Tensor<float, 4>& values) {
            const ra::StreamLayout one_seat(1);
            ra::SeatCaches<float> caches(heads, window, storage, {0, 1});
            ra::Tensor<float, 4> output(heads.batch, heads.heads, seq_len, heads.value_width);
            for (Index first = 0, count; first < seq_len; first += count) {
                count = std::min(first < 3 ? 1 : portion, seq_len - first);
                const ra::TokenPositions next{first, count};
                const ra::IndexRange positions{first, count};
                caches.make_room(one_seat, positions, first + count, portion);
                const ra::KeyValueView<const float> given{
                    next, at(keys.data(), heads.key_value_heads, heads.key_width, next),
                    at(values.data(), heads.key_value_heads, heads.value_width, next)};
                caches.keep(one_seat, 0, positions, given);
                const ra::IndexRange seen = caches.seen_by(one_seat, first, first + count);
                ra::attend_to_cache<float>(plan, {}, at(query.data(), heads.heads, heads.key_width, next),
                                           next, std::as_const(caches).at(one_seat, 0, seen)[0],
                                           at(output.data(), heads.heads, heads.value_width, next));
            }
            return std::pair(output, caches.bytes());
        };
        const auto [stored, bytes] = outputs(bfloat16, key, value);
        const auto [expected, plain_bytes] = outputs(ra::Storage::computing, rounded_key, rounded_value);
        CHECK(compare::same_bits(stored, expected));
        CHECK(bytes * Index(sizeof(float)) == plain_bytes * 2);
        if (window == 0) CHECK(bytes == 2 * heads.batch * heads.key_value_heads * seq_len * (5 + 8));
    }
}
