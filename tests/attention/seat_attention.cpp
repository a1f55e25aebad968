// Attention of new tokens to caches at the seats of a ring against that of all tokens to each other.

#include <algorithm>
#include <array>
#include <cmath>
#include <stdexcept>
#include <type_traits>
#include <vector>

#include <doctest/doctest.h>

#include <ring_attention/attention/operator.hpp>
#include <ring_attention/attention/seat_attention.hpp>
#include <ring_attention/ring/thread/thread_ring.hpp>

#include "support/compare.hpp"
#include "support/sanitized.hpp"
#include "support/tensors.hpp"

namespace attention_seat_attention {

namespace ra = ring_attention;
using ra::Index;

namespace {

constexpr Index seq_len = support::sanitized ? 700 : 1100;
constexpr ra::HeadShape heads{2, 4, 2, 8, 5};

template <class T>
struct Case {
    ra::AttentionOptions options{};
    std::vector<T> sinks{};
    ra::Storage storage = ra::Storage::computing;

    ra::Tensor<T, 4> tensor(Index of_heads, Index width, std::uint64_t seed) const {
        return tensors::normal<T>(std::array<Index, 4>{heads.batch, of_heads, seq_len, width}, seed, 2);
    }
    ra::Tensor<T, 4> query = tensor(heads.heads, heads.key_width, 1),
                     key = tensor(heads.key_value_heads, heads.key_width, 2),
                     value = tensor(heads.key_value_heads, heads.value_width, 3);

    ra::Tensor<T, 4> expected() const {
        ra::Tensor<T, 1> sink_tensor(Index(sinks.size()));
        std::copy(sinks.begin(), sinks.end(), sink_tensor.data());
        ra::AttentionOptions stored = options;
        stored.storage = storage;
        return ra::attention(query, key, value, stored, {.sinks = sinks.empty() ? nullptr : &sink_tensor})
            .output;
    }

    /// In portions, on so many seats.
    ra::Tensor<T, 4> in_portions(Index num_seats, const std::vector<Index>& sizes,
                                 ra::RingReference ring) const {
        ra::Tensor<T, 4> output(heads.batch, heads.heads, seq_len, heads.value_width);
        const auto at = [&](auto* numbers, Index of_heads, Index width, const ra::TokenPositions& tokens) {
            return ra::HeadsView<std::remove_pointer_t<decltype(numbers)>>::head_by_head(numbers, of_heads,
                                                                                         seq_len, width)
                .middle_tokens(tokens.first, tokens.count);
        };
        ra::ScoreTerms<T> terms;
        if (!sinks.empty()) terms.sinks = sinks.data();
        const ra::StreamLayout layout(num_seats);
        const ra::IndexRange seats = ra::divide(num_seats, ring.ranks(), ring.rank());
        ra::SeatCaches<T> caches(heads, options.window, storage, seats);
        const Index portion = *std::max_element(sizes.begin(), sizes.end());
        for (Index done = 0, turn = 0, size; done < seq_len; done += size) {
            size = std::min(sizes[std::size_t(turn++) % sizes.size()], seq_len - done);
            const ra::TokenPositions next{done, size};
            const ra::Share share(ra::ChunkLayout(done + size, 1), 0, 1);
            const ra::AttentionPlan plan = ra::plan_of<T>(options, share, share, heads);
            caches.make_room(layout, {done, size}, done + size, portion);
            const ra::KeyValueView<const T> given{
                next, at(key.data(), heads.key_value_heads, heads.key_width, next),
                at(value.data(), heads.key_value_heads, heads.value_width, next)};
            for (Index i = 0; i < seats.count; ++i) caches.keep(layout, i, {done, size}, given);
            ra::attend_to_seats<T>(ring, plan, terms, at(query.data(), heads.heads, heads.key_width, next),
                                   next, layout, caches,
                                   at(output.data(), heads.heads, heads.value_width, next));
        }
        return output;
    }
};

const std::vector<std::vector<Index>> some_portions{{1, 63, 2, 300, 1, 250}, {seq_len}};

template <class T>
void check(const Case<T>& c, const std::vector<std::vector<Index>>& portions = some_portions) {
    const auto expected = c.expected();
    for (const auto& sizes : portions)
        for (const Index num_seats : {1, 2, 3}) {
            // It takes longest of all.
            if (support::sanitized && (num_seats < 3 || &sizes != &portions.front())) continue;
            CAPTURE(num_seats);
            CAPTURE(sizes[0]);
            ra::LocalRing one;
            const auto alone = c.in_portions(num_seats, sizes, one);
            CHECK(compare::largest_difference(alone, expected) < (std::is_same_v<T, float> ? 1e-5 : 5e-14));
            for (int ranks = support::sanitized ? 3 : 2; ranks <= num_seats; ++ranks)
                CHECK_NOTHROW(ra::ThreadRing::run(ranks, [&](ra::ThreadRing& ring) {
                    if (!compare::same_bits(c.in_portions(num_seats, sizes, ring), alone))
                        throw std::runtime_error("other bits");
                }));
        }
}

/// Scores of about that size to base 2, whose products are exact. Those of one run of 64 keys in seven are
/// larger in their last place, the first run at the second seat: seats have other maxima.
template <class T>
Case<T> with_scores_of(T size) {
    Case<T> c;
    c.query.setZero(), c.key.setZero();
    c.query.chip(0, 3).setConstant(T(4));
    for (Index token = 0; token < seq_len; ++token)
        c.key.chip(0, 3).chip(token, 2).setConstant(token / 64 % 7 == 4 ? std::nextafter(size / 2, size)
                                                                        : size / 2);
    return c;
}

}  // namespace

TEST_CASE_TEMPLATE("seat attention: in any portions, at any seats and ranks, the attention of the whole", T,
                   float, double) {
    check(Case<T>{});
    check(Case<T>{}, {{1}});
    check(Case<T>{.sinks = {T(1), T(-2), T(30), T(0)}});
    check(Case<T>{.storage = ra::Storage::bfloat16});
}

TEST_CASE("seat attention: with windows within a block, across blocks, and longer than all") {
    for (const Index window : {1, 7, 300, 700, 5000}) {
        CAPTURE(window);
        check(Case<double>{.options = {.window = window}});
    }
    check(Case<double>{.options = {.window = 600}, .sinks = {1, 2, 0, -1}, .storage = ra::Storage::bfloat16});
}

TEST_CASE("seat attention: what becomes of the scores") {
    check(Case<double>{.options = {.scale = 0.1, .softcap = 5}});
    check(Case<double>{.options = {.window = 400, .alibi_slopes = {0.5, 0.25, 0.125, 0.0625}}});
}

TEST_CASE_TEMPLATE("seat attention: at scores that are rounded by more than a weight can bear", T, float,
                   double) {
    for (const double size : {5e5, 2e7, 1e8, 3e15}) {
        if ((std::is_same_v<T, float> && size > 1e9) || (support::sanitized && size != 2e7)) continue;
        CAPTURE(size);
        check(with_scores_of(T(size)));
    }
}

}  // namespace attention_seat_attention
