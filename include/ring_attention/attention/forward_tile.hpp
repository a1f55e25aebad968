#pragma once

#include <algorithm>
#include <cstddef>
#include <limits>
#include <vector>

#include <ring_attention/attention/score_cap.hpp>
#include <ring_attention/attention/tile.hpp>
#include <ring_attention/kernels/vector_math.hpp>

RING_ATTENTION_PRECISE_BEGIN
namespace ring_attention::inline RING_ATTENTION_ABI::detail {

// What attention forward does around its products, tile by tile; some of it while the sums are in registers.

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

/// What a tile of queries has seen so far, (lanes) each.
template <Real T>
struct SoftmaxSoFar {
    T *maximum, *sum;
};

/// How a tile of queries goes on: the scale of the scores, their maximum (lanes), what was before, and where
/// goes what the output so far is to be multiplied by, (lanes).
template <Real T>
struct Softmax {
    T scale;
    const T* new_maximum;
    SoftmaxSoFar<T> so_far;
    T* decay;
    bool cap;  // whether the scores, but not their maximum, are still to be capped
};

/// Where the weights of a key go.
template <Real T>
struct StoreWeights {
    static constexpr int keys = 1;
    T* weights;  // (N, lanes)

    [[gnu::always_inline]] void operator()(Index key, int lane, Simd<T> (&weight)[keys]) const {
        weight[0].store(weights + key * AttentionTile<T>::lanes + lane);
    }
};

/// Scores (N, lanes) of some of the keys become weights 2^(score scale - maximum), which store(key, lane,
/// weights) takes, and may round, for Store::keys keys at a time; maximum and sum of the queries move on.
template <int vectors, Real T, class Store>
void scores_to_weights(const Softmax<T>& softmax, const T* scores, const IndexRange& keys, const Store& store,
                       const auto& cap) {
    constexpr int lanes = AttentionTile<T>::lanes;
    const Simd<T> nothing(-std::numeric_limits<T>::infinity()), scale(softmax.scale);
    Simd<T> shift[std::size_t(vectors)], total[std::size_t(vectors)];
    unrolled<vectors>([&](auto v) {
        constexpr int lane = v * Simd<T>::width;
        T* const maximum = softmax.so_far.maximum + lane;
        const Simd<T> old = Simd<T>::load(maximum);
        const Simd<T> now = max(Simd<T>::load(softmax.new_maximum + lane) * scale, old);
        now.store(maximum);
        // Nothing but -infinity so far: -infinity - 0 gives the weight 0, -infinity - -infinity NaN.
        shift[v] = select<T>(now > nothing, now, Simd<T>(T(0)));
        exp2_weight(old - shift[v]).store(softmax.decay + lane);
        total[v] = Simd<T>(T(0));
    });
    for (Index j = keys.first; j < keys.end(); j += Store::keys)
        unrolled<vectors>([&](auto v) {
            constexpr int lane = v * Simd<T>::width;
            Simd<T> weight[Store::keys];
            unrolled<Store::keys>([&](auto i) {
                const T* const score = scores + (j + i) * lanes + lane;
                weight[i] = exp2_weight(fma(cap(Simd<T>::load(score)), scale, -shift[v]));
            });
            store(j, lane, weight);
            unrolled<Store::keys>([&](auto i) { total[v] = total[v] + weight[i]; });
        });
    unrolled<vectors>([&](auto v) {
        constexpr int lane = v * Simd<T>::width;
        T* const sum = softmax.so_far.sum + lane;
        fma(Simd<T>::load(sum), Simd<T>::load(softmax.decay + lane), total[v]).store(sum);
    });
}

template <int vectors, Real T, class Store>
void scores_to_weights(const Softmax<T>& softmax, const T* scores, const IndexRange& keys,
                       const Store& store) {
    constexpr Index lanes = AttentionTile<T>::lanes;
    visit_cap<vectors>(softmax.cap, scores + keys.first * lanes, keys.count, lanes, [&](const auto& cap) {
        scores_to_weights<vectors>(softmax, scores, keys, store, cap);
    });
}

}  // namespace ring_attention::inline RING_ATTENTION_ABI::detail
RING_ATTENTION_PRECISE_END
