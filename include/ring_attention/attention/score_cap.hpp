#pragma once

#include <concepts>

#include <ring_attention/core/types.hpp>
#include <ring_attention/kernels/tanh.hpp>

RING_ATTENTION_PRECISE_BEGIN
namespace ring_attention::inline RING_ATTENTION_ABI::detail {

// A cap that is all that happens to the scores goes into the loop of the softmax: there it costs neither a
// load nor a store, and the softmax's own scale is its height.

/// Scores stay what they are.
template <Real T>
struct NoCap {
    [[gnu::always_inline]] Simd<T> operator()(Simd<T> score) const { return score; }
    /// The gradient of `score`, from that of what it became.
    [[gnu::always_inline]] Simd<T> gradient(Simd<T>, Simd<T>, Simd<T> d) const { return d; }
};

/// A part of the cap becomes its tanh.
template <Real T>
struct Cap {
    [[gnu::always_inline]] Simd<T> operator()(Simd<T> part) const { return tanh(part); }
    [[gnu::always_inline]] Simd<T> gradient(Simd<T> part, Simd<T>, Simd<T> d) const {
        return d * tanh_derivative(part);
    }
};

/// The same bits, of parts below half.
struct CapOfSmall {
    [[gnu::always_inline]] Simd<float> operator()(Simd<float> part) const {
        return tanh_of_small(part, Simd<float>(1.0f));
    }
    [[gnu::always_inline]] Simd<float> gradient(Simd<float>, Simd<float> capped, Simd<float> d) const {
        return d * tanh_derivative_of_small(capped);
    }
};

/// f(NoCap), or f(Cap) or f(CapOfSmall) as the parts (rows, vectors * width), a row `stride` numbers from the
/// next, need it: most tiles have none but small ones, and need no look at each vector.
template <int vectors, Real T>
void visit_cap(bool capped, const T* parts, Index rows, Index stride, auto&& f) {
    if (!capped) return f(NoCap<T>{});
    if constexpr (std::same_as<T, float>)
        if (all_below_half<vectors>(parts, rows, stride)) return f(CapOfSmall{});
    f(Cap<T>{});
}

/// tanh of `count` numbers, whole vectors.
template <Real T>
void cap_numbers(T* numbers, Index count) {
    for (Index i = 0; i < count; i += Simd<T>::width) tanh(Simd<T>::load(numbers + i)).store(numbers + i);
}

}  // namespace ring_attention::inline RING_ATTENTION_ABI::detail
RING_ATTENTION_PRECISE_END
