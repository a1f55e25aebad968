#pragma once

#include <array>
#include <cmath>
#include <cstdint>
#include <numbers>

#include <Random123/philox.h>

#include <ring_attention/core/types.hpp>

namespace ring_attention::inline RING_ATTENTION_ABI {

/// What the random numbers are for: streams of different purpose never meet, whatever the seed.
enum class RandomPurpose : std::uint64_t { initial_values = 1, dropout = 2, sampling = 3 };

/// Random numbers that are a function of where they are used (Philox4x64-10; Salmon et al., SC 2011): any of
/// them can be had at any time, in any order and on any rank.
class CounterRandom {
  public:
    CounterRandom(std::uint64_t seed, RandomPurpose purpose) : key_{{seed, std::uint64_t(purpose)}} {}

    /// Eight numbers of 32 bits for the place (a, b, c, d).
    std::array<std::uint32_t, 8> bits(std::uint64_t a, std::uint64_t b, std::uint64_t c,
                                      std::uint64_t d) const {
        const auto drawn = r123::Philox4x64()({{a, b, c, d}}, key_);
        std::array<std::uint32_t, 8> words;
        for (std::size_t i = 0; i < 4; ++i) {
            words[2 * i] = std::uint32_t(drawn[i]);
            words[2 * i + 1] = std::uint32_t(drawn[i] >> 32);
        }
        return words;
    }

    /// A number in (0, 1), of 52 bits, for the place (a, b).
    double uniform(std::uint64_t a, std::uint64_t b = 0) const {
        const auto words = bits(a, b, 0, 0);
        const std::uint64_t high = (std::uint64_t(words[1]) << 32 | words[0]) >> 12;
        return (double(high) + 0.5) * 0x1p-52;
    }

    /// A number of the standard normal distribution, for the place (a, b) (Box, Muller 1958).
    double normal(std::uint64_t a, std::uint64_t b = 0) const {
        const double radius = std::sqrt(-2 * std::log(uniform(a, 2 * b)));
        return radius * std::cos(2 * std::numbers::pi * uniform(a, 2 * b + 1));
    }

  private:
    r123::Philox4x64::key_type key_;
};

}  // namespace ring_attention::inline RING_ATTENTION_ABI
