#pragma once

#include <cstdint>
#include <limits>
#include <set>
#include <string>
#include <type_traits>

#include "attention_operator.hpp"
#include "attention_random.hpp"
#include "attention_reference.hpp"
#include "compare.hpp"

// What the library gives for a random case, against the oracle.

namespace support {

/// How far the library may be from the oracle, in errors of computing as the oracle does in T alone.
inline constexpr double rounding_errors = 2;

/// The first part of the answer that is wrong, where and by how much; empty if none is.
template <class T>
std::string difference(const RandomAttention<T>& c) {
    using R = std::conditional_t<std::is_same_v<T, float>, double, long double>;
    const auto [expected, error] = c.template reference<R>();
    const oracle::AttentionAnswer<T> given = results_of(c).numbers();
    for (const auto part : oracle::parts_of_answer) {
        const auto &expected_part = oracle::part(expected, part), &error_part = oracle::part(error, part);
        const auto& given_part = oracle::part(given, part);
        if (given_part.size() != expected_part.size())
            return std::string(oracle::name_of(part)) + " has another size";
        for (std::size_t i = 0; i < expected_part.size(); ++i) {
            const double allowed =
                rounding_errors * double(std::numeric_limits<T>::epsilon()) * double(error_part[i]) +
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
std::string guilty_features(std::uint64_t seed, Index piece = 0) {
    std::set<Feature> without = lacking_features();
    std::string guilty;
    for (std::size_t feature = 0; feature < num_features; ++feature) {
        if (!without.insert(Feature(feature)).second) continue;
        if (!difference(RandomAttention<T>(seed, without, piece)).empty()) continue;
        guilty += std::string(guilty.empty() ? "" : ", ") + name_of(Feature(feature));
        without.erase(Feature(feature));
    }
    return guilty;
}

}  // namespace support
