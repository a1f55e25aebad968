// Random combinations of everything that attention can be asked for against the oracle: outputs, log_sum_exp
// and every gradient. (Stored as bfloat16, keys and values are widened here: paired_products.cpp has the
// other way.)

#define RING_ATTENTION_BFLOAT16_PRODUCTS 0

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <limits>
#include <set>
#include <string>
#include <type_traits>

#include <doctest/doctest.h>

#include <ring_attention/ring/local_ring.hpp>
#include <ring_attention/ring/thread/thread_ring.hpp>

#include "support/attention_operator.hpp"
#include "support/attention_random.hpp"
#include "support/attention_reference.hpp"
#include "support/bfloat16.hpp"
#include "support/compare.hpp"
#include "support/num_threads.hpp"

namespace {

namespace ra = ring_attention;
using support::Feature;
using support::RandomAttention;

constexpr std::uint64_t num_cases = 2000;

/// How far the library may be from the oracle, in errors of computing as the oracle does in T alone.
constexpr double tolerance = 2;

/// The first part of the answer that is wrong, where and by how much; empty if none is.
template <class T>
std::string difference(const RandomAttention<T>& c) {
    using R = std::conditional_t<std::is_same_v<T, float>, double, long double>;
    const auto [expected, error] = c.template reference<R>();
    const oracle::AttentionAnswer<T> given = support::results_of(c).numbers();
    for (const auto part : oracle::parts_of_answer) {
        const auto &expected_part = oracle::part(expected, part), &error_part = oracle::part(error, part);
        const auto& given_part = oracle::part(given, part);
        if (given_part.size() != expected_part.size())
            return std::string(oracle::name_of(part)) + " has another size";
        for (std::size_t i = 0; i < expected_part.size(); ++i) {
            const double allowed =
                tolerance * double(std::numeric_limits<T>::epsilon()) * double(error_part[i]) +
                1e6 * double(std::numeric_limits<T>::min());
            if (!(compare::distance(given_part[i], expected_part[i]) <= allowed))
                return std::string(oracle::name_of(part)) + "[" + std::to_string(i) + "] is " +
                       std::to_string(given_part[i]) + ", expected " +
                       std::to_string(double(expected_part[i])) + " +- " + std::to_string(allowed);
        }
    }
    return {};
}

/// The features without which it is right.
template <class T>
std::string guilty_features(std::uint64_t seed) {
    std::set<Feature> without = support::lacking_features();
    std::string guilty;
    for (std::size_t feature = 0; feature < support::num_features; ++feature) {
        if (!without.insert(Feature(feature)).second) continue;
        if (!difference(RandomAttention<T>(seed, without)).empty()) continue;
        guilty += std::string(guilty.empty() ? "" : ", ") + support::name_of(Feature(feature));
        without.erase(Feature(feature));
    }
    return guilty;
}

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
                std::atomic<int> same = 0;
                ra::ThreadRing::run(ranks, [&](ra::ThreadRing& ring) {
                    same += support::has_the_bits_of(alone, c, ring, storage);
                });
                CHECK(same == ranks);
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
        const std::string wrong = difference(c);
        CHECK(wrong.empty());
        if (wrong.empty()) continue;
        MESSAGE("seed ", seed, ": ", wrong, " in ", c.description());
        if (++shown == 5) break;
        MESSAGE("not so without ", guilty_features<T>(seed));
    }
    CHECK(refused < int(num_cases) / 8);
}
