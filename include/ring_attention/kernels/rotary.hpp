#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <utility>

#include <ring_attention/core/types.hpp>
#include <ring_attention/kernels/simd.hpp>

RING_ATTENTION_PRECISE_BEGIN
namespace ring_attention::inline RING_ATTENTION_ABI::detail {

// Pairs of numbers (a, b) that turn, in place, each by an angle of its own:
//
//     a := a cos - b sin,  b := b cos + a sin
//
// and back, which is the transpose: by the negative angle. All of it is spelt out in fma, so that equal
// inputs give equal bits wherever they stand.

enum class Turn { forward, back };

/// The pairs are x[i] and x[i + pairs].
template <Turn turn, Real T>
void turn_halves(T* x, const T* cosine, const T* sine, Index pairs) {
    const auto turned = [](Simd<T> a, Simd<T> b, Simd<T> c, Simd<T> s) {
        if constexpr (turn == Turn::back) s = -s;
        return std::pair(fma(a, c, -(b * s)), fma(b, c, a * s));
    };
    constexpr Index width = Simd<T>::width;
    T* const y = x + pairs;
    Index i = 0;
    for (; i + width <= pairs; i += width) {
        const auto [a, b] = turned(Simd<T>::load(x + i), Simd<T>::load(y + i), Simd<T>::load(cosine + i),
                                   Simd<T>::load(sine + i));
        a.store(x + i);
        b.store(y + i);
    }
    if (const Index rest = pairs - i; rest > 0) {
        const auto [a, b] = turned(load_partial(x + i, rest), load_partial(y + i, rest),
                                   load_partial(cosine + i, rest), load_partial(sine + i, rest));
        store_partial(a, x + i, rest);
        store_partial(b, y + i, rest);
    }
}

/// Lanes 2 l and 2 l + 1 are lane first + l of x.
template <int first, Real T>
[[gnu::always_inline]] inline Simd<T> each_twice(Simd<T> x) {
    return [&]<int... l>(std::integer_sequence<int, l...>) {
        return Simd<T>(__builtin_shufflevector(x.lanes, x.lanes, (first + l / 2)...));
    }
    (std::make_integer_sequence<int, Simd<T>::width>{});
}

/// Lanes 2 l and 2 l + 1 change places.
template <Real T>
[[gnu::always_inline]] inline Simd<T> neighbours_swapped(Simd<T> x) {
    return [&]<int... l>(std::integer_sequence<int, l...>) {
        return Simd<T>(__builtin_shufflevector(x.lanes, x.lanes, (l ^ 1)...));
    }
    (std::make_integer_sequence<int, Simd<T>::width>{});
}

/// -1 in the lanes with even numbers and 1 in the others, or the other way round.
template <Turn turn, Real T>
[[gnu::always_inline]] inline Simd<T> signs_of_sines() {
    return []<int... l>(std::integer_sequence<int, l...>) {
        return Simd<T>(typename Simd<T>::Lanes{T((l % 2 == 0) == (turn == Turn::forward) ? -1 : 1)...});
    }
    (std::make_integer_sequence<int, Simd<T>::width>{});
}

/// The pairs are x[2 i] and x[2 i + 1].
template <Turn turn, Real T>
void turn_neighbours(T* x, const T* cosine, const T* sine, Index pairs) {
    constexpr int width = Simd<T>::width;
    const Simd<T> signs = signs_of_sines<turn, T>();
    const auto turned = [signs](Simd<T> pair, Simd<T> c, Simd<T> s) {
        return fma(pair, c, neighbours_swapped(pair) * (signs * s));
    };
    Index i = 0;
    for (; i + width <= pairs; i += width) {
        const Simd<T> c = Simd<T>::load(cosine + i), s = Simd<T>::load(sine + i);
        T* const low = x + 2 * i;
        T* const high = low + width;
        turned(Simd<T>::load(low), each_twice<0>(c), each_twice<0>(s)).store(low);
        turned(Simd<T>::load(high), each_twice<width / 2>(c), each_twice<width / 2>(s)).store(high);
    }
    if (i == pairs) return;
    const Simd<T> c = load_partial(cosine + i, pairs - i), s = load_partial(sine + i, pairs - i);
    T* const low = x + 2 * i;
    const Index in_low = std::min<Index>(width, 2 * (pairs - i)), in_high = 2 * (pairs - i) - in_low;
    store_partial(turned(load_partial(low, in_low), each_twice<0>(c), each_twice<0>(s)), low, in_low);
    if (in_high == 0) return;
    T* const high = low + width;
    store_partial(turned(load_partial(high, in_high), each_twice<width / 2>(c), each_twice<width / 2>(s)),
                  high, in_high);
}

/// Cosines and sines of angles.
template <class T>
struct Directions {
    T* cosine;
    T* sine;
};

/// Those of the sums of n angles and n others, computed in double and rounded once.
template <Real T>
void add_angles(Directions<const double> one, Directions<const double> other, Directions<T> sum, Index n) {
    constexpr Index width = Simd<double>::width;
    const auto add = [&](Index i, auto&& load, Index count) {
        const Simd<double> c = load(one.cosine + i), s = load(one.sine + i), d = load(other.cosine + i),
                           t = load(other.sine + i);
        std::array<double, std::size_t(width)> cosine, sine;
        fma(c, d, -(s * t)).store(cosine.data());
        fma(s, d, c * t).store(sine.data());
        for (Index lane = 0; lane < count; ++lane) {
            sum.cosine[i + lane] = T(cosine[std::size_t(lane)]);
            sum.sine[i + lane] = T(sine[std::size_t(lane)]);
        }
    };
    Index i = 0;
    for (; i + width <= n; i += width)
        add(
            i, [](const double* from) { return Simd<double>::load(from); }, width);
    if (i < n)
        add(
            i, [&](const double* from) { return load_partial(from, n - i); }, n - i);
}

}  // namespace ring_attention::inline RING_ATTENTION_ABI::detail
RING_ATTENTION_PRECISE_END
