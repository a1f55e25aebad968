#pragma once

#include <ring_attention/kernels/map_numbers.hpp>
#include <ring_attention/kernels/tanh.hpp>
#include <ring_attention/kernels/vector_math.hpp>

// What stands between two products, but for GELU in its exact form (elementwise.hpp), and the soft cap. Each
// f(x, y, n) is y = f(x) for n contiguous numbers, and f_backward(x, dy, dx, n) is dx = dy f'(x); y may be x,
// dx may be dy. NaN stays NaN; far out the functions are what they tend to.

RING_ATTENTION_PRECISE_BEGIN
namespace ring_attention::inline RING_ATTENTION_ABI::detail {

/// s(v) = 1 / (1 + exp(-v)) by exp(-|v|), which does not overflow, and so that it keeps its relative accuracy
/// where it is small.
template <Real T>
class Logistic {
  public:
    /// Of |v| up to `farthest`, where s(-|v|) times any |x| that goes with it is 0.
    [[gnu::always_inline]] explicit Logistic(Simd<T> size_of_v)
        : small_(exp_parts(-size_of_v)), sum_(Simd<T>(T(1)) + small_.value()) {}

    static constexpr T farthest = sizeof(T) == 4 ? T(120) : T(800);

    /// x s(v), where x and v have the same sign. size: |x|, or less where s(-|v|) is 0.
    [[gnu::always_inline]] Simd<T> times(Simd<T> x, Simd<T> size) const {
        return select<T>(x < Simd<T>(T(0)), small_.times(-size), x) / sum_;
    }

    /// Its derivative by x, s(v) (1 + x v' s(-v)). growth: x v', of the sizes that the others are of.
    [[gnu::always_inline]] Simd<T> derivative_of_times(Simd<T> x, Simd<T> growth) const {
        const Simd<T> one(T(1)), larger = one / sum_;
        const Simd<T> above = fma(growth * small_.value(), larger, one),
                      below = small_.times(fma(-growth, larger, one));
        return select<T>(x < Simd<T>(T(0)), below, above) * larger;
    }

  private:
    ExpParts<T> small_;
    Simd<T> sum_;
};

/// SiLU, x s(x) (Elfwing, Uchibe, Doya 2017, 1702.03118).
template <Real T>
void silu(const T* x, T* y, Index n) {
    map_numbers(x, y, n, [](Simd<T> a) {
        const Simd<T> size = min(Simd<T>(Logistic<T>::farthest), abs(a));
        return Logistic<T>(size).times(a, size);
    });
}

template <Real T>
void silu_backward(const T* x, const T* dy, T* dx, Index n) {
    map_numbers(x, dy, dx, n, [](Simd<T> a, Simd<T> da) {
        const Simd<T> size = min(Simd<T>(Logistic<T>::farthest), abs(a));
        return da * Logistic<T>(size).derivative_of_times(a, size);
    });
}

/// The sizes of x and of v = 2 sqrt(2 / pi) (x + 0.044715 x^3).
template <Real T>
struct GeluTanhArgument {
    static constexpr T linear = T(1.5957691216057307117597842397375),
                       cubic = T(0.07135481627260024877633875227987);
    static constexpr T farthest = sizeof(T) == 4 ? T(11.25) : T(22);  // there |v| is nearly that of Logistic

    Simd<T> size, square, size_of_v;

    [[gnu::always_inline]] explicit GeluTanhArgument(Simd<T> x)
        : size(min(Simd<T>(farthest), abs(x))),
          square(size * size),
          size_of_v(size * fma(square, Simd<T>(cubic), Simd<T>(linear))) {}

    /// |x| v'.
    [[gnu::always_inline]] Simd<T> growth() const {
        return size * fma(square, Simd<T>(3 * cubic), Simd<T>(linear));
    }
};

/// GELU by tanh (Hendrycks, Gimpel 2016, 1606.08415), x (1 + tanh u) / 2 with u = sqrt(2 / pi) (x + 0.044715
/// x^3): the same as x s(2 u), where nothing cancels.
template <Real T>
void gelu_tanh(const T* x, T* y, Index n) {
    map_numbers(x, y, n, [](Simd<T> a) {
        const GeluTanhArgument<T> of(a);
        return Logistic<T>(of.size_of_v).times(a, of.size);
    });
}

template <Real T>
void gelu_tanh_backward(const T* x, const T* dy, T* dx, Index n) {
    map_numbers(x, dy, dx, n, [](Simd<T> a, Simd<T> da) {
        const GeluTanhArgument<T> of(a);
        return da * Logistic<T>(of.size_of_v).derivative_of_times(a, of.growth());
    });
}

/// max(x, 0).
template <Real T>
void relu(const T* x, T* y, Index n) {
    map_numbers(x, y, n, [](Simd<T> a) { return max(Simd<T>(T(0)), a); });
}

/// dy where x > 0, else 0.
template <Real T>
void relu_backward(const T* x, const T* dy, T* dx, Index n) {
    map_numbers(x, dy, dx, n, [](Simd<T> a, Simd<T> da) {
        const Simd<T> zero(T(0));
        return select<T>(a > zero, da, select<T>(a < zero, zero, a));  // of 0 that is 0, of NaN it is NaN
    });
}

/// cap tanh(x / cap).
template <Real T>
void soft_cap(const T* x, T cap, T* y, Index n) {
    map_numbers(x, y, n, [scaled = ScaledTanh<T>(cap), cap](Simd<T> a) { return scaled(a / Simd<T>(cap)); });
}

template <Real T>
void soft_cap_backward(const T* x, T cap, const T* dy, T* dx, Index n) {
    map_numbers(x, dy, dx, n,
                [cap](Simd<T> a, Simd<T> da) { return da * tanh_derivative(a / Simd<T>(cap)); });
}

}  // namespace ring_attention::inline RING_ATTENTION_ABI::detail
RING_ATTENTION_PRECISE_END
