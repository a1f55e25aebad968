#pragma once

#include <algorithm>
#include <cstddef>
#include <numeric>
#include <type_traits>

#include <ring_attention/attention/score_cap.hpp>
#include <ring_attention/attention/tile.hpp>
#include <ring_attention/kernels/exp2.hpp>

RING_ATTENTION_PRECISE_BEGIN
namespace ring_attention::inline RING_ATTENTION_ABI::detail {

// What backward has of a tile while it is at work, and what happens between its products.

/// What a block of queries and a tile of keys need, in memory of the thread. Of weights, d_scores and the
/// derivatives, (N, max_queries), a row is a key and a lane a query.
template <Real T>
struct BackwardMemory {
    using Tile = AttentionTile<T>;
    static constexpr Index lanes = Tile::lanes, max_queries = 4 * lanes;

    T *query, *d_output;                       // a tile behind the other: (D, lanes), (Dv, lanes) each
    T* dot;                                    // (M)
    T *scale, *shift, *unit, *rest;            // (M) P = 2^((score scale - shift) unit - rest)
    T *weights, *d_scores;                     // (N, max_queries)
    T *cap, *function;                         // derivatives, (N, max_queries), if need be
    T *query_rows, *d_output_rows, *key_rows;  // packed, if need be

    BackwardMemory(const HeadShape& shape, bool cap_wanted, bool function_wanted) {
        const auto sizes = {shape.key_width * max_queries,
                            shape.value_width * max_queries,
                            max_queries,
                            max_queries,
                            max_queries,
                            max_queries,
                            max_queries,
                            Tile::keys * max_queries,
                            Tile::keys * max_queries,
                            cap_wanted ? Tile::keys * max_queries : 0,
                            function_wanted ? Tile::keys * max_queries : 0,
                            packed_size<T>(max_queries, shape.key_width),
                            packed_size<T>(max_queries, shape.value_width),
                            packed_size<T>(Tile::keys, shape.key_width)};
        const auto parts = {&query,   &d_output, &dot, &scale,    &shift,      &unit,          &rest,
                            &weights, &d_scores, &cap, &function, &query_rows, &d_output_rows, &key_rows};
        T* next = workspace<T, Workspace::attention>().require(
            std::accumulate(sizes.begin(), sizes.end(), Index(0)));
        auto size = sizes.begin();
        for (T** const part : parts) {
            *part = *size == 0 ? nullptr : next;
            next += *size++;
        }
    }
};

/// Keys [key, end) and the lanes from `first` on: S^T becomes P^T and dP^T becomes dS^T; masked(lane, key, x)
/// is x, or 0. cap: what S^T is still to become (score_cap.hpp).
template <int vectors, Real T>
void softmax_backward(const BackwardMemory<T>& memory, T scale, Index first, Index key, Index end,
                      auto&& masked, const auto& cap) {
    constexpr Index max_queries = BackwardMemory<T>::max_queries;
    Simd<T> own_scale[std::size_t(vectors)], minus_shift[std::size_t(vectors)], unit[std::size_t(vectors)],
        minus_rest[std::size_t(vectors)], dot[std::size_t(vectors)];
    unrolled<vectors>([&](auto v) {
        const Index at = first + v * Simd<T>::width;
        own_scale[v] = Simd<T>::load(memory.scale + at), unit[v] = Simd<T>::load(memory.unit + at);
        minus_shift[v] = -Simd<T>::load(memory.shift + at);
        minus_rest[v] = -Simd<T>::load(memory.rest + at);
        dot[v] = Simd<T>::load(memory.dot + at);
    });
    const Simd<T> scales(scale);
    for (; key < end; ++key)
        unrolled<vectors>([&](auto v) {
            constexpr int lane = v * Simd<T>::width;
            T* const weight = memory.weights + key * max_queries + first + lane;
            T* const d_score = memory.d_scores + key * max_queries + first + lane;
            const Simd<T> given = Simd<T>::load(weight), score = cap(given);
            const Simd<T> x = fma(score, own_scale[v], minus_shift[v]);
            const Simd<T> p = exp2_flushed(fma(x, unit[v], minus_rest[v]));
            masked(std::integral_constant<int, lane>{}, key, p).store(weight);
            const Simd<T> d = p * (Simd<T>::load(d_score) - dot[v]) * scales;
            masked(std::integral_constant<int, lane>{}, key, cap.gradient(given, score, d)).store(d_score);
        });
}

/// Keys [key, end), which no query of the tile sees, get weights and gradients 0.
template <Real T>
void hide_keys(const BackwardMemory<T>& memory, Index first, Index key, Index end) {
    constexpr Index max_queries = BackwardMemory<T>::max_queries;
    for (; key < end; ++key)
        for (T* const numbers : {memory.weights, memory.d_scores})
            std::fill_n(numbers + key * max_queries + first, BackwardMemory<T>::lanes, T(0));
}

}  // namespace ring_attention::inline RING_ATTENTION_ABI::detail
RING_ATTENTION_PRECISE_END
