// Few queries and many keys: the pieces of the keys against the oracle, in every combination of what
// attention can be asked for.

#include <algorithm>
#include <array>
#include <cstdint>
#include <string>

#include <doctest/doctest.h>

#include <ring_attention/attention/forward_few.hpp>

#include "support/attention_difference.hpp"
#include "support/attention_operator.hpp"
#include "support/attention_random.hpp"
#include "support/bfloat16.hpp"
#include "support/compare.hpp"
#include "support/num_threads.hpp"
#include "support/sanitized.hpp"
#include "support/tensors.hpp"

namespace attention_forward_few {

namespace {

namespace ra = ring_attention;
using ra::Index;
using ra::detail::KeyPiece;
using support::RandomAttention;

constexpr std::uint64_t num_cases = support::num_cases(400);

template <class T>
RandomAttention<T> few_queries(std::uint64_t seed) {
    return RandomAttention<T>(seed, support::lacking_features(), KeyPiece::size);
}

/// q [batch, heads, q_len, width], k and v [batch, key-value heads, kv_len, width].
template <class T>
struct Inputs {
    ra::Tensor<T, 4> q, k, v;

    Inputs(Index batch, Index heads, Index key_value_heads, Index q_len, Index kv_len, Index width)
        : q(tensors::normal<T>(std::array<Index, 4>{batch, heads, q_len, width}, 1)),
          k(tensors::normal<T>(std::array<Index, 4>{batch, key_value_heads, kv_len, width}, 2)),
          v(tensors::normal<T>(std::array<Index, 4>{batch, key_value_heads, kv_len, width}, 3)) {}
};

}  // namespace

TEST_CASE("pieces of keys hold every key that is seen once, and are cut at the same positions") {
    for (const Index first : {0, 1, 511, 512, 700})
        for (const ra::IndexRange& seen :
             {ra::IndexRange{0, 0}, {0, 1}, {0, 2000}, {3, 1}, {511, 2}, {1024, 900}, {37, 1500}}) {
            Index next = seen.first;
            KeyPiece::for_each({first, 2000}, seen, [&](const KeyPiece& piece) {
                CHECK(piece.keys.first == next);
                CHECK(piece.keys.count > 0);
                CHECK(piece.offset == (first + next) % KeyPiece::size);
                CHECK(piece.offset + piece.keys.count <= KeyPiece::size);
                next = piece.keys.end();
                CHECK((next == seen.end() || (first + next) % KeyPiece::size == 0));
            });
            CHECK(next == seen.end());
        }
}

TEST_CASE_TEMPLATE("few queries: random combinations of all options agree with the oracle", T, float,
                   double) {
    int few = 0, shown = 0;
    for (std::uint64_t seed = 0; seed < num_cases; ++seed) {
        const RandomAttention<T> c = few_queries<T>(seed);
        if (support::is_refused(c)) continue;
        few += c.problem.query_len * c.problem.heads / c.problem.key_value_heads <=
                   ra::detail::FewQueries<T>::max_rows &&
               c.problem.key_len >= 4 * c.problem.query_len;
        const std::string wrong = support::difference(c);
        CHECK(wrong.empty());
        if (wrong.empty()) continue;
        MESSAGE("seed ", seed, ": ", wrong, " in ", c.description());
        if (++shown == 5) break;
        MESSAGE("not so without ", support::guilty_features<T>(seed, KeyPiece::size));
    }
    CHECK(few > int(num_cases) / 2);
}

TEST_CASE_TEMPLATE("few queries: random combinations give the same bits on several ranks and threads", T,
                   float, double) {
    for (std::uint64_t seed = 0; seed < num_cases; seed += 5)
        for (const ra::Storage storage : {ra::Storage::computing, ra::Storage::bfloat16}) {
            const RandomAttention<T> c = few_queries<T>(seed);
            if (support::is_refused(c)) continue;
            CAPTURE(seed);
            CAPTURE(ra::name_of(storage));
            const auto alone = [&](int threads) {
                const support::NumThreads some(threads);
                return support::results_of(c, storage);
            };
            const auto expected = alone(1);
            for (const int threads : {2, 3}) CHECK(support::same_bits(expected, alone(threads)));
            for (const int ranks : {2, 3}) {
                if (ranks > c.num_chunks) break;
                CHECK(support::all_ranks_have_the_bits_of(expected, c, ranks, storage));
            }
        }
}

TEST_CASE_TEMPLATE("few queries: stored as bfloat16 they have the bits of keys and values rounded before", T,
                   float, double) {
    for (const Index width : {1, 7, 64, 100}) {
        Inputs<T> given(2, 4, 2, 2, 1100, width);
        const auto stored = ra::attention(given.q, given.k, given.v,
                                          {.query_offset = 1098, .storage = ra::Storage::bfloat16});
        given.k = support::rounded(given.k);
        given.v = support::rounded(given.v);
        const auto rounded = ra::attention(given.q, given.k, given.v, {.query_offset = 1098});
        CHECK(compare::same_bits(stored.output, rounded.output));
        CHECK(compare::same_bits(stored.log_sum_exp, rounded.log_sum_exp));
    }
}

TEST_CASE_TEMPLATE("few queries: a query's bits depend neither on its neighbours nor on its group", T, float,
                   double) {
    const Index kv_len = 1300, q_len = 5;
    const Inputs<T> given(1, 2, 1, q_len, kv_len, 40);
    for (const Index window : {0, 700}) {
        const auto all =
            ra::attention(given.q, given.k, given.v, {.window = window, .query_offset = kv_len - q_len});
        for (Index query = 0; query < q_len; ++query)
            for (Index head = 0; head < 2; ++head) {
                const auto one =
                    ra::attention(tensors::slice(tensors::slice(given.q, 1, head, 1), 2, query, 1), given.k,
                                  given.v, {.window = window, .query_offset = kv_len - q_len + query});
                CHECK(compare::same_bits(
                    one.output, tensors::slice(tensors::slice(all.output, 1, head, 1), 2, query, 1)));
            }
    }
}

}  // namespace attention_forward_few
