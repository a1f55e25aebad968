#pragma once

#include <algorithm>
#include <cstddef>
#include <limits>
#include <utility>
#include <vector>

#include <ring_attention/attention/tile.hpp>

RING_ATTENTION_PRECISE_BEGIN
namespace ring_attention::inline RING_ATTENTION_ABI::detail {

// What attention forward does around its products, tile by tile; some of it while the sums are in registers.

/// What a block of queries needs, in memory of the thread.
template <Real T>
struct ForwardMemory {
    using Tile = AttentionTile<T>;
    static constexpr Index lanes = Tile::lanes, max_queries = 16 * lanes;

    // A tile behind the other: (D, lanes), (Dv, lanes), (lanes) and (lanes) each.
    T *query, *output, *maximum, *sum;
    // Of the tile that is at work: (keys, lanes), (lanes), (lanes).
    T *scores, *decay, *largest;

    explicit ForwardMemory(const HeadShape& shape) {
        // A tile of rows is copied where the scores come later.
        const Index tile = std::max(Tile::keys, std::max(shape.key_width, shape.value_width)) * lanes;
        T* next = workspace<T, Workspace::attention>().require(
            (shape.key_width + shape.value_width + 2) * max_queries + tile + 2 * lanes);
        const auto take = [&](Index count) { return std::exchange(next, next + count); };
        query = take(shape.key_width * max_queries), output = take(shape.value_width * max_queries);
        maximum = take(max_queries), sum = take(max_queries);
        scores = take(tile), decay = take(lanes), largest = take(lanes);
    }
};

/// Queries are read once, from far away.
template <Real T>
void prefetch(const GroupRows<const T>& rows) {
    for (Index i = 0; i < rows.count; ++i) prefetch(rows.row(i), rows.width);
}

/// Rows a multiple of 512 bytes apart fall on an eighth of the sets of a first cache or less, and would
/// push each other out while all queries of the block read them: such are copied.
template <Real T>
MatrixView<const T> close_together(MatrixView<const T> rows) {
    if (rows.row_stride * Index(sizeof(T)) % 512 != 0) return rows;
    const Index spacing = rows.cols + 64 / Index(sizeof(T));
    T* const copy = workspace<T, Workspace::values>().require(AttentionTile<T>::keys * spacing);
    for (Index i = 0; i < rows.rows; ++i) std::copy_n(&rows(i, 0), rows.cols, copy + i * spacing);
    return {copy, rows.rows, rows.cols, spacing, 1};
}

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
        unrolled<vectors>([&](auto v) __attribute__((always_inline)) {  // else the sums go through memory
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
        unrolled<vectors>([&](auto v) __attribute__((always_inline)) {
            constexpr int lane = v * Simd<T>::width;
            const Simd<T> factor = Simd<T>::load(decay + lane);
            unrolled<rows>([&](auto i) {
                T* const to = output + i * AttentionTile<T>::lanes + lane;
                fma(Simd<T>::load(to), factor, sum[i][v]).store(to);
            });
        });
    }
};

/// output (Dv, lanes) becomes a mean: that of a query that has seen nothing stays 0. sum: (lanes).
template <Real T>
void divide_by_sums(T* output, Index value_width, const T* sum) {
    constexpr Index lanes = AttentionTile<T>::lanes;
    for (Index lane = 0; lane < lanes; lane += Simd<T>::width) {
        const Simd<T> weights = Simd<T>::load(sum + lane);
        const Simd<T> divisor =
            select<T>(weights < Simd<T>(std::numeric_limits<T>::min()), Simd<T>(T(1)), weights);
        for (Index i = 0; i < value_width; ++i) {
            T* const number = output + i * lanes + lane;
            (Simd<T>::load(number) / divisor).store(number);
        }
    }
}

/// Values that are not finite go to the output (Dv, lanes) of those queries alone that see their keys: 0 NaN
/// is NaN. A weight may be 0 because the score hid the key from the query, as the mask does.
template <Real T>
void add_wild_values(const std::vector<Index>& keys, const VisibleKeys<T>& visible, bool zero_hides,
                     Index value_width, T* output, auto&& weight_of, auto&& value_of) {
    constexpr Index lanes = AttentionTile<T>::lanes;
    for (const Index key : keys)
        for (Index lane = 0; key < visible.any.end() && lane < lanes; ++lane) {
            const T weight = weight_of(key, lane);
            if (!visible.sees(lane, key) || (zero_hides && weight == T(0))) continue;
            for (Index i = 0; i < value_width; ++i) output[i * lanes + lane] += weight * value_of(key, i);
        }
}

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
