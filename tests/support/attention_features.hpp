#pragma once

// What the random cases of attention are made of.

#include <cmath>
#include <cstddef>
#include <cstdlib>
#include <limits>

#include "attention_problem.hpp"

namespace support {

using oracle::Index;

/// A user's own score: it depends on all its arguments, is not linear in the score, and hides some keys if it
/// is told to.
struct OwnScore {
    bool hides = false;

    template <class R>
    R operator()(R score, Index batch, Index head, Index query_position, Index key_position) const {
        if (hides && (3 * query_position + 5 * key_position) % 7 == 0)
            return -std::numeric_limits<R>::infinity();
        const Index distance = std::abs(query_position - key_position);
        return weight<R>(head, key_position) * score + std::sqrt(1 + score * score) / 4 +
               R(batch - distance % 5) / 8;
    }

    template <class R>
    R derivative(R score, Index, Index head, Index, Index key_position) const {
        return weight<R>(head, key_position) + score / std::sqrt(1 + score * score) / 4;
    }

  private:
    template <class R>
    static R weight(Index head, Index key_position) {
        return R(3 + (head + key_position) % 3) / 4;
    }
};

/// What a case has, to see that all were had together with all others.
enum class Feature {
    causal,
    other_key_length,
    offset,
    grouped,
    other_value_width,
    window,
    prefix,
    documents,
    lengths,
    scale,
    softcap,
    alibi,
    bias,
    own_score,
    sinks,
    chunks,
    zigzag,
    striped,
    wide,
    blind_rows,
    poison,
};
inline constexpr std::size_t num_features = std::size_t(Feature::poison) + 1;

inline const char* name_of(Feature feature) {
    constexpr const char* names[num_features] = {"causal",
                                                 "other key length",
                                                 "offset",
                                                 "grouped",
                                                 "other value width",
                                                 "window",
                                                 "prefix",
                                                 "documents",
                                                 "lengths",
                                                 "scale",
                                                 "softcap",
                                                 "ALiBi",
                                                 "bias",
                                                 "own score",
                                                 "sinks",
                                                 "chunks",
                                                 "zigzag",
                                                 "striped",
                                                 "wide",
                                                 "blind rows",
                                                 "poison"};
    return names[std::size_t(feature)];
}

}  // namespace support
