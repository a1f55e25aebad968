#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <numbers>
#include <vector>

namespace inputs {

/// Numbers for tests, the same on every machine (SplitMix64; Steele, Lea, Flood 2014). Not the library's
/// generator.
class Numbers {
  public:
    explicit Numbers(std::uint64_t seed) : state_(seed) {}

    std::uint64_t bits() {
        std::uint64_t z = state_ += 0x9E3779B97F4A7C15u;
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
        z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
        return z ^ (z >> 31);
    }

    /// In [-1, 1).
    double uniform() { return double(bits() >> 11) * 0x1p-52 - 1; }

    double normal() {
        const double radius = std::sqrt(-2 * std::log(1 - (uniform() + 1) / 2));
        return radius * std::cos(std::numbers::pi * uniform());
    }

  private:
    std::uint64_t state_;
};

template <class T>
std::vector<T> normal(std::size_t size, std::uint64_t seed, double deviation = 1) {
    Numbers numbers(seed);
    std::vector<T> values(size);
    for (T& value : values) value = T(deviation * numbers.normal());
    return values;
}

/// The same numbers in another type, as an oracle takes them.
template <class R, class Values>
std::vector<R> widen(const Values& values) {
    return std::vector<R>(values.data(), values.data() + values.size());
}

}  // namespace inputs
