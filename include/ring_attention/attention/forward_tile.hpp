#pragma once

#include <cstddef>
#include <limits>

#include <ring_attention/attention/tile.hpp>

RING_ATTENTION_PRECISE_BEGIN
namespace ring_attention::inline RING_ATTENTION_ABI::detail {

// What follows the products of attention forward, tile by tile, while the sums are in registers.

/// Stores the scores of a few keys. Where every query sees all of these, takes the largest of each.
template <Real T>
struct StoreScores {
    T* scores;                 // (N, lanes)
    T* maximum;                // (lanes)
    Index seen_from, seen_to;  // of the N keys

    StoreScores middle_rows(Index first, Index) const {
        return {scores + first * AttentionTile<T>::lanes, maximum, seen_from - first, seen_to - first};
    }

    template <std::size_t rows, std::size_t vectors>
    [[gnu::always_inline]] void operator()(const Simd<T> (&sum)[rows][vectors]) const {
        unrolled<vectors>([&](auto v) {
            constexpr int lane = v * Simd<T>::width;
            unrolled<rows>([&](auto i) { sum[i][v].store(scores + i * AttentionTile<T>::lanes + lane); });
            if (seen_from > 0 || seen_to < Index(rows)) return;
            Simd<T> largest = Simd<T>::load(maximum + lane);
            unrolled<rows>([&](auto i) { largest = max(sum[i][v], largest); });  // a NaN is left out
            largest.store(maximum + lane);
        });
    }
};

/// output^T = output^T decay + sum.
template <Real T>
struct DecayAndAdd {
    T* output;       // (D, lanes)
    const T* decay;  // (lanes)

    DecayAndAdd middle_rows(Index first, Index) const {
        return {output + first * AttentionTile<T>::lanes, decay};
    }

    template <std::size_t rows, std::size_t vectors>
    [[gnu::always_inline]] void operator()(const Simd<T> (&sum)[rows][vectors]) const {
        unrolled<vectors>([&](auto v) {
            constexpr int lane = v * Simd<T>::width;
            const Simd<T> factor = Simd<T>::load(decay + lane);
            unrolled<rows>([&](auto i) {
                T* const to = output + i * AttentionTile<T>::lanes + lane;
                fma(Simd<T>::load(to), factor, sum[i][v]).store(to);
            });
        });
    }
};

/// Scores of keys that a query does not see become -infinity; the others raise the maximum.
template <Real T>
void mask_scores(const VisibleKeys<T>& visible, const IndexRange& keys, T* scores, T* maximum) {
    constexpr int lanes = AttentionTile<T>::lanes;
    for (int lane = 0; lane < lanes; lane += Simd<T>::width) {
        Simd<T> largest = Simd<T>::load(maximum + lane);
        for (Index j = keys.first; j < keys.end(); ++j) {
            T* const score = scores + j * lanes + lane;
            const Simd<T> masked = visible.where_seen(lane, j, Simd<T>::load(score),
                                                      Simd<T>(-std::numeric_limits<T>::infinity()));
            masked.store(score);
            largest = max(masked, largest);
        }
        largest.store(maximum + lane);
    }
}

}  // namespace ring_attention::inline RING_ATTENTION_ABI::detail
RING_ATTENTION_PRECISE_END
