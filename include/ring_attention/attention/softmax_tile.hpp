#pragma once

#include <cmath>
#include <cstddef>
#include <limits>

#include <ring_attention/attention/log_sum_exp.hpp>
#include <ring_attention/attention/score_cap.hpp>
#include <ring_attention/attention/tile.hpp>
#include <ring_attention/kernels/exp2.hpp>

RING_ATTENTION_PRECISE_BEGIN
namespace ring_attention::inline RING_ATTENTION_ABI::detail {

// The online softmax of a tile of queries, a tile of keys after the other. Weights are 2^((score - maximum)
// scale), but the maximum need not be that of all scores so far: it moves only where a score is more than
// `headroom` above it, and weights may be up to 2^headroom. So most tiles of keys leave it where it is;
// whether they do shows in their sums, and nobody looks for the largest score. A query's maximum depends on
// its own scores alone, and its bits neither on what is tried first nor on the others of the tile. All of
// this happens while a FlushToZero lives.

/// Base 2. Values as large as the largest number / 2^headroom / number of keys can be summed.
template <Real T>
inline constexpr T headroom = 10;

/// What a tile of queries has seen so far, (lanes) each. The maximum is a score that is not scaled yet.
template <Real T>
struct SoftmaxSoFar {
    T *maximum, *sum;
};

/// How a tile of queries goes on: the scale of the scores to base 2, what was before, and where goes what the
/// output so far is to be multiplied by, (lanes).
template <Real T>
struct Softmax {
    T scale;
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

/// What is subtracted from scores before they are scaled, and after. Of scores so large that the rounding of
/// their maximum would count, the maximum is subtracted first.
template <Real T>
struct WeightReference {
    Simd<T> before, after;

    WeightReference(Simd<T> maximum, Simd<T> scale) {
        const Simd<T> zero(T(0));
        // Nothing but -infinity so far: -infinity - 0 gives the weight 0, -infinity - -infinity NaN.
        maximum = select<T>(maximum > Simd<T>(-std::numeric_limits<T>::infinity()), maximum, zero);
        const Simd<T> scaled = maximum * scale;
        const auto large = Base2Score<T>::is_large(scaled);
        before = select<T>(large, maximum, zero), after = select<T>(large, zero, scaled);
    }
};

/// Weights of the scores (N, lanes) of some of the keys go to store(key, lane, weights), which may round
/// them, for Store::keys keys at a time; total: their sums.
template <int vectors, Real T, class Store>
void sum_weights(const Softmax<T>& softmax, const T* scores, const IndexRange& keys, const Store& store,
                 const auto& cap, Simd<T> (&total)[std::size_t(vectors)]) {
    constexpr int lanes = AttentionTile<T>::lanes;
    const Simd<T> scale(softmax.scale), zero(T(0));
    // In registers: what has an address would be stored and loaded at each key, for scores might lie there.
    Simd<T> before[std::size_t(vectors)], after[std::size_t(vectors)], sum[std::size_t(vectors)],
        any_before = zero;
    unrolled<vectors>([&](auto v) {
        const WeightReference<T> reference(Simd<T>::load(softmax.so_far.maximum + v * Simd<T>::width), scale);
        before[v] = reference.before, after[v] = reference.after;
        any_before = max(abs(before[v]), any_before);
        sum[v] = zero;
    });
    const auto weigh =
        [&, store = store, end = keys.end() ](const auto& relative) __attribute__((always_inline)) {
        for (Index j = keys.first; j < end; j += Store::keys)
            unrolled<vectors>([&](auto v) {
                constexpr int lane = v * Simd<T>::width;
                Simd<T> weight[Store::keys];
                unrolled<Store::keys>([&](auto i) {
                    const Simd<T> score = cap(Simd<T>::load(scores + (j + i) * lanes + lane));
                    weight[i] = exp2_flushed(fma(relative(v, score), scale, -after[v]));
                });
                store(j, lane, weight);
                unrolled<Store::keys>([&](auto i) { sum[v] = sum[v] + weight[i]; });
            });
    };
    if (horizontal_max(any_before) == T(0))
        weigh([](auto, Simd<T> score) __attribute__((always_inline)) { return score; });
    else
        weigh([&](auto v, Simd<T> score) __attribute__((always_inline)) { return score - before[v]; });
    unrolled<vectors>([&](auto v) { total[v] = sum[v]; });
}

template <int vectors, Real T, class Store>
void sum_weights(const Softmax<T>& softmax, const T* scores, const IndexRange& keys, const Store& store,
                 Simd<T> (&total)[std::size_t(vectors)]) {
    constexpr Index lanes = AttentionTile<T>::lanes;
    visit_cap<vectors>(softmax.cap, scores + keys.first * lanes, keys.count, lanes, [&](const auto& cap) {
        sum_weights<vectors>(softmax, scores, keys, store, cap, total);
    });
}

/// largest (lanes): of the scores to come. Whether the maxima may well stay where they now are: each query
/// has one, and none that had one has another.
template <int vectors, Real T>
bool raise_maximum(const Softmax<T>& softmax, const T* largest) {
    const Simd<T> nothing(-std::numeric_limits<T>::infinity()), zero(T(0)), one(T(1)), scale(softmax.scale);
    Simd<T> unsettled = zero;
    unrolled<vectors>([&](auto v) {
        constexpr int lane = v * Simd<T>::width;
        T* const maximum = softmax.so_far.maximum + lane;
        const Simd<T> old = Simd<T>::load(maximum), score = Simd<T>::load(largest + lane);
        const auto rises = (score - old) * scale > Simd<T>(headroom<T>);
        const Simd<T> now = select<T>(rises, score, old);
        now.store(maximum);
        const Simd<T> reference = select<T>(now > nothing, now, zero);
        const Base2Score<T> from(old, scale), to(reference, scale);
        const Simd<T> fall = select<T>(Base2Score<T>::is_large(from.rounded), (old - reference) * scale,
                                       (from.rounded - to.rounded) - to.rest);
        exp2_flushed(fall).store(softmax.decay + lane);
        const Simd<T> moved = select<T>(old > nothing, select<T>(rises, one, zero), zero);
        unsettled = max(select<T>(now > nothing, moved, one), unsettled);
    });
    return horizontal_max(unsettled) == T(0);
}

/// Scores (N, lanes) of some of the keys become weights, which go to `store`; maximum and sum of the queries
/// move on. largest (lanes): of these scores. Whether their maxima may well stay.
template <int vectors, Real T, class Store>
bool scores_to_weights(const Softmax<T>& softmax, const T* largest, const T* scores, const IndexRange& keys,
                       const Store& store) {
    const bool settled = raise_maximum<vectors>(softmax, largest);
    Simd<T> total[std::size_t(vectors)];
    sum_weights<vectors>(softmax, scores, keys, store, total);
    unrolled<vectors>([&](auto v) {
        constexpr int lane = v * Simd<T>::width;
        T* const sum = softmax.so_far.sum + lane;
        fma(Simd<T>::load(sum), Simd<T>::load(softmax.decay + lane), total[v]).store(sum);
    });
    return settled;
}

/// The same if no maximum moves, and the same bits; else nothing but the weights has changed. Every query has
/// a maximum. No weight is above the sum, and the maxima stay if none is above 2^headroom: half of it leaves
/// room for what was rounded.
template <int vectors, Real T, class Store>
bool scores_to_weights_if_settled(const Softmax<T>& softmax, const T* scores, const IndexRange& keys,
                                  const Store& store) {
    Simd<T> total[std::size_t(vectors)];
    sum_weights<vectors>(softmax, scores, keys, store, total);
    Simd<T> largest(T(0));
    unrolled<vectors>([&](auto v) { largest = max(total[v], largest); });  // a NaN is left out
    if (horizontal_max(largest) > std::exp2(headroom<T> - 1)) return false;
    unrolled<vectors>([&](auto v) {
        constexpr int lane = v * Simd<T>::width;
        T* const sum = softmax.so_far.sum + lane;
        (Simd<T>::load(sum) + total[v]).store(sum);
        Simd<T>(T(1)).store(softmax.decay + lane);
    });
    return true;
}

}  // namespace ring_attention::inline RING_ATTENTION_ABI::detail
RING_ATTENTION_PRECISE_END
