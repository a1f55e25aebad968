#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstring>
#include <limits>

// Measures of how far two runs of numbers (vectors, tensors, matrices: anything with data() and size()) are
// apart.

namespace compare {

inline constexpr double never = std::numeric_limits<double>::infinity();

/// 0 for equal values, infinities and two NaNs among them; infinity where only one is finite.
template <class A, class B>
double distance(A a, B b) {
    const auto x = static_cast<long double>(a), y = static_cast<long double>(b);
    if (x == y || (std::isnan(x) && std::isnan(y))) return 0;
    const double difference = double(std::abs(x - y));
    return std::isnan(difference) ? never : difference;
}

/// max |a - b|; infinity where the sizes differ.
template <class A, class B>
double largest_difference(const A& a, const B& b) {
    if (std::size_t(a.size()) != std::size_t(b.size())) return never;
    double largest = 0;
    const auto* x = a.data();
    const auto* y = b.data();
    for (std::size_t i = 0; i < std::size_t(a.size()); ++i) largest = std::max(largest, distance(x[i], y[i]));
    return largest;
}

template <class A>
double largest(const A& a) {
    double result = 0;
    const auto* x = a.data();
    for (std::size_t i = 0; i < std::size_t(a.size()); ++i) result = std::max(result, std::abs(double(x[i])));
    return result;
}

/// max |given - expected| in units of the largest expected: how a gradient is judged.
template <class A, class B>
double relative_difference(const A& given, const B& expected) {
    const double difference = largest_difference(given, expected);
    return difference == 0 ? 0 : difference / largest(expected);
}

/// Equal to the bit: no tolerance, a zero's sign counts, a NaN equals itself.
template <class A>
bool same_bits(const A& a, const A& b) {
    if (a.size() != b.size()) return false;
    const std::size_t bytes = std::size_t(a.size()) * sizeof(a.data()[0]);
    return bytes == 0 || std::memcmp(a.data(), b.data(), bytes) == 0;
}

}  // namespace compare
