// Random combinations of everything that attention can be asked for against the oracle: outputs, log_sum_exp
// and every gradient. (Stored as bfloat16, keys and values are widened here: paired_products.cpp has the
// other way.)

#define RING_ATTENTION_BFLOAT16_PRODUCTS 0

#include <algorithm>
#include <cstdint>
#include <string>

#include <doctest/doctest.h>

#include <ring_attention/ring/local_ring.hpp>

#include "support/attention_difference.hpp"
#include "support/attention_operator.hpp"
#include "support/attention_random.hpp"
#include "support/bfloat16.hpp"
#include "support/num_threads.hpp"
#include "support/sanitized.hpp"

namespace {

namespace ra = ring_attention;
using support::RandomAttention;

constexpr std::uint64_t num_cases = support::num_cases(2000);

}  // namespace

TEST_CASE_TEMPLATE("attention: random combinations give the same bits on several ranks", T, float, double) {
    for (std::uint64_t seed = 0; seed < num_cases; seed += 29)
        for (const ra::Storage storage : {ra::Storage::computing, ra::Storage::bfloat16}) {
            const RandomAttention<T> c(seed, support::lacking_features());
            if (support::is_refused(c)) continue;
            CAPTURE(seed);
            CAPTURE(ra::name_of(storage));
            const auto alone = [&] {
                const support::NumThreads one(1);
                return support::results_of(c, storage);
            }();
            for (const int ranks : {2, 3, 4, 7}) {
                if (ranks > c.num_chunks) break;
                CHECK(support::all_ranks_have_the_bits_of(alone, c, ranks, storage));
            }
        }
}

TEST_CASE_TEMPLATE("attention: stored as bfloat16 it has the bits of keys and values rounded before", T,
                   float, double) {
    const support::NumThreads one(1);
    ra::LocalRing ring;
    int cases = 0, other_than_exact = 0;
    for (std::uint64_t seed = 0; seed < num_cases; seed += 11) {
        const RandomAttention<T> c(seed, support::lacking_features());
        if (support::is_refused(c)) continue;
        CAPTURE(seed);
        auto before = support::operands_of(c);
        const auto stored = support::results_of(c, ra::Storage::bfloat16);
        other_than_exact += !support::same_bits(stored, support::results_of(c, before, ring));
        before.k = support::rounded(before.k);
        before.v = support::rounded(before.v);
        CHECK(support::same_bits(stored, support::results_of(c, before, ring)));
        ++cases;
    }
    CHECK(other_than_exact > cases * 3 / 4);  // in the others nobody sees a key
}

TEST_CASE_TEMPLATE("attention: 2000 random combinations of all options agree with the oracle", T, float,
                   double) {
    const support::NumThreads one(1);
    int refused = 0, shown = 0;
    for (std::uint64_t seed = 0; seed < num_cases; ++seed) {
        const RandomAttention<T> c(seed, support::lacking_features());
        if (support::is_refused(c)) {
            ++refused;
            CHECK_THROWS_AS(support::results_of(c), ra::Error);
            continue;
        }
        const std::string wrong = support::difference(c);
        CHECK(wrong.empty());
        if (wrong.empty()) continue;
        MESSAGE("seed ", seed, ": ", wrong, " in ", c.description());
        if (++shown == 5) break;
        MESSAGE("not so without ", support::guilty_features<T>(seed));
    }
    CHECK(refused < int(num_cases) / 8);
}
