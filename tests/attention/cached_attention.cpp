// Attention of new tokens to a cache against that of all tokens to each other.

#include <algorithm>
#include <array>
#include <type_traits>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

#include <ring_attention/attention/cached_attention.hpp>
#include <ring_attention/attention/operator.hpp>
#include <ring_attention/attention/seat_caches.hpp>

#include "support/compare.hpp"
#include "support/tensors.hpp"

namespace attention_cached_attention {

namespace ra = ring_attention;
using ra::Index;

namespace {

constexpr Index seq_len = 200;

/// Portions of these sizes; sinks: for each query head, or none.
template <class T>
void check_portions(const ra::HeadShape& heads, const ra::AttentionOptions& options,
                    const std::vector<T>& sinks, const std::vector<Index>& sizes) {
    const auto tensor = [&](Index of_heads, Index width, std::uint64_t seed, double deviation) {
        return tensors::normal<T>(std::array<Index, 4>{heads.batch, of_heads, seq_len, width}, seed,
                                  deviation);
    };
    const auto query = tensor(heads.heads, heads.key_width, 1, 3),
               key = tensor(heads.key_value_heads, heads.key_width, 2, 3),
               value = tensor(heads.key_value_heads, heads.value_width, 3, 1);
    ra::Tensor<T, 1> sink_tensor(Index(sinks.size()));
    std::copy(sinks.begin(), sinks.end(), sink_tensor.data());
    const auto expected =
        ra::attention(query, key, value, options, {.sinks = sinks.empty() ? nullptr : &sink_tensor}).output;
    ra::Tensor<T, 4> output(expected.dimensions());
    const auto at = [&](auto* numbers, Index of_heads, Index width, const ra::TokenPositions& tokens) {
        return ra::HeadsView<std::remove_pointer_t<decltype(numbers)>>::head_by_head(numbers, of_heads,
                                                                                     seq_len, width)
            .middle_tokens(tokens.first, tokens.count);
    };
    const ra::Share share(ra::ChunkLayout(seq_len, 1), 0, 1);
    const ra::AttentionPlan plan = ra::plan_of<T>(options, share, share, heads);
    ra::ScoreTerms<T> terms;
    if (!sinks.empty()) terms.sinks = sinks.data();
    const ra::StreamLayout one_seat(1);
    ra::SeatCaches<T> caches(heads, options.window, ra::Storage::computing, {0, 1});
    ra::TokenPositions next;
    for (const Index size : sizes) {
        next = {next.first + next.count, size};
        const ra::IndexRange positions{next.first, size};
        caches.make_room(one_seat, positions, positions.end(), *std::max_element(sizes.begin(), sizes.end()));
        const auto keep = caches.at(one_seat, 0, positions)[0];
        const auto copy_rows = [&](auto&& from, auto&& to) {
            for (Index i = 0; i < size; ++i) std::copy_n(&from(i, 0), from.cols, &to(i, 0));
        };
        for (Index head = 0; head < heads.batch_key_value_heads(); ++head) {
            copy_rows(at(key.data(), heads.key_value_heads, heads.key_width, next)(head), keep.key(head));
            copy_rows(at(value.data(), heads.key_value_heads, heads.value_width, next)(head),
                      keep.value(head));
        }
        const ra::IndexRange seen = caches.seen_by(one_seat, next.first, positions.end());
        ra::attend_to_cache<T>(plan, terms, at(query.data(), heads.heads, heads.key_width, next), next,
                               std::as_const(caches).at(one_seat, 0, seen)[0],
                               at(output.data(), heads.heads, heads.value_width, next));
    }
    REQUIRE(next.first + next.count == seq_len);
    CHECK(compare::largest_difference(output, expected) < (std::is_same_v<T, float> ? 1e-5 : 5e-14));
}

const std::vector<std::vector<Index>> every_portions{{1, 1, 63, 64, 65, 6}, {200}, {3, 40, 1, 1, 1, 100, 54}};

}  // namespace

TEST_CASE_TEMPLATE("cached attention: any portions give the attention of the whole", T, float, double) {
    for (const Index head_dim : {1, 5, 64})
        for (const auto& sizes : every_portions) {
            CAPTURE(head_dim);
            check_portions<T>({2, 3, 3, head_dim, head_dim}, {}, {}, sizes);
        }
}

TEST_CASE_TEMPLATE("cached attention: groups of heads, and values of another width than keys", T, float,
                   double) {
    for (const Index key_value_heads : {1, 2, 4})
        for (const Index value_width : {1, 8, 20})
            for (const auto& sizes : every_portions) {
                CAPTURE(key_value_heads);
                CAPTURE(value_width);
                check_portions<T>({2, 4, key_value_heads, 8, value_width}, {}, {}, sizes);
            }
}

TEST_CASE_TEMPLATE("cached attention: a window, documents, and what becomes of the scores", T, float,
                   double) {
    const std::vector<ra::AttentionOptions> every_options{
        {.window = 1},
        {.window = 7},
        {.window = 150},
        {.document_starts = {0, 60, 61, 130}},
        {.window = 20, .document_starts = {0, 60, 61, 130}},
        {.lengths = {150, 3}},
        {.scale = 0.1, .softcap = 5},
        {.alibi_slopes = {0.5, 0.25, 0.125, 0.0625}},
        {.window = 30, .softcap = 20, .alibi_slopes = {0.5, 0.25, 0.125, 0.0625}}};
    for (std::size_t i = 0; i < every_options.size(); ++i)
        for (const auto& sizes : every_portions)
            for (const bool sinks : {true, false}) {
                CAPTURE(i);
                CAPTURE(sinks);
                check_portions<T>({2, 4, 2, 8, 8}, every_options[i],
                                  sinks ? std::vector<T>{T(1), T(-2), T(30), T(0)} : std::vector<T>{}, sizes);
            }
}

TEST_CASE("cached attention: with a window, what is no longer seen makes room") {
    for (const Index window : {1, 2, 5, 64, 150, 300}) {
        CAPTURE(window);
        check_portions<float>({2, 3, 1, 5, 5}, {.window = window}, {}, {1, 1, 63, 64, 65, 6});
        check_portions<float>({2, 3, 1, 5, 5}, {.window = window}, {}, std::vector<Index>(200, 1));
    }
}

}  // namespace attention_cached_attention
