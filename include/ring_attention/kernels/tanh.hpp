#pragma once

#include <array>
#include <concepts>
#include <cstddef>

#include <ring_attention/kernels/exp2.hpp>
#include <ring_attention/kernels/vector_math.hpp>

RING_ATTENTION_PRECISE_BEGIN
namespace ring_attention::inline RING_ATTENTION_ABI::detail {

/// tanh x = x numerator(x^2) / (denominator(x^2) + x^8) for |x| <= largest, where it is 1 (a minimax fit, to
/// 2e-8).
struct TanhConstants {
    static constexpr std::array<float, 5> numerator{1285910.247f, 172068.0285f, 4495.01791f, 26.50151139f,
                                                    0.0171729982f};
    static constexpr std::array<float, 4> denominator{1285910.273f, 600704.5581f, 33275.49747f, 422.5039887f};
    static constexpr float largest = 8.6f;
    /// Below `half`, where scores to be capped mostly are, tanh x = x (1 + x^2 of_small(x^2)) too (to
    /// 1.5e-8), without a division.
    static constexpr std::array<float, 4> of_small{-0.333331439f, 0.1332587896f, -0.05304549432f,
                                                   0.01724149159f};
    static constexpr float half = 0.5f;
};

/// of_small(x) where the lanes are all below `half` in size, else each lane by its own size of_small(x) or
/// of_any(x).
[[gnu::always_inline]] inline Simd<float> by_size(Simd<float> x, auto&& of_small, auto&& of_any) {
    const Simd<float> size = abs(x), half(TanhConstants::half);
    if (all_less(size, half)) return of_small(x);
    return select<float>(size < half, of_small(x), of_any(x));
}

/// height tanh x.
[[gnu::always_inline]] inline Simd<float> tanh_of_small(Simd<float> x, Simd<float> height) {
    const Simd<float> square = x * x;
    return x * height * fma(square, polynomial(square, TanhConstants::of_small), Simd<float>(1.0f));
}

/// Its derivative, where tanh is `value`.
[[gnu::always_inline]] inline Simd<float> tanh_derivative_of_small(Simd<float> value) {
    return fma(-value, value, Simd<float>(1.0f));
}

/// Whether all of the numbers (rows, vectors * width), a row `stride` numbers from the next, are below `half`
/// in size.
template <int vectors>
bool all_below_half(const float* numbers, Index rows, Index stride) {
    using Bits = Simd<float>::Predicate;
    Bits largest[std::size_t(vectors)] = {};  // sizes rise as their bits do
    for (Index row = 0; row < rows; ++row)
        unrolled<vectors>([&](auto v) {
            const Bits size =
                to_bits(abs(Simd<float>::load(numbers + row * stride + v * Simd<float>::width)));
            largest[v] = size > largest[v] ? size : largest[v];
        });
    bool all = true;
    unrolled<vectors>([&](auto v) {
        all = all && all_less(from_bits<float>(largest[v]), Simd<float>(TanhConstants::half));
    });
    return all;
}

/// Below this 2^y - 1 is -1.
inline constexpr double lowest_of_exp2_minus_1 = -128;

/// height tanh x within 6 ulp; NaN stays NaN.
template <Real T>
class ScaledTanh;

template <>
class ScaledTanh<float> {
    using Constants = TanhConstants;

  public:
    explicit ScaledTanh(float height) : height_(height) {
        for (std::size_t i = 0; i < numerator_.size(); ++i) numerator_[i] = height * Constants::numerator[i];
    }

    [[gnu::always_inline]] Simd<float> operator()(Simd<float> x) const {
        return by_size(
            x, [&](Simd<float> below_half) { return tanh_of_small(below_half, height_); },
            [&](Simd<float> any) { return quotient(any); });
    }

  private:
    [[gnu::always_inline]] Simd<float> quotient(Simd<float> x) const {
        // In this order of the arguments a NaN passes through.
        x = min(Simd<float>(Constants::largest), max(Simd<float>(-Constants::largest), x));
        const Simd<float> square = x * x;
        Simd<float> denominator = square + Simd<float>(Constants::denominator[3]);
        unrolled<3>([&](auto i) {
            denominator =
                fma(denominator, square, Simd<float>(Constants::denominator[2 - std::size_t(int(i))]));
        });
        return x * polynomial(square, numerator_) / denominator;
    }

    float height_;
    std::array<float, Constants::numerator.size()> numerator_;
};

[[gnu::always_inline]] inline Simd<float> tanh(Simd<float> x) {
    return ScaledTanh<float>(1)(x);
}

/// With e = 2^y - 1 and y = -2 log2(e) |x|, tanh |x| = -e / (e + 2), where nothing cancels.
[[gnu::always_inline]] inline Simd<double> tanh(Simd<double> x) {
    const Simd<double> y =
        max(Simd<double>(lowest_of_exp2_minus_1), abs(x) * Simd<double>(-2.885390081777926814719849));
    const Simd<double> n = round_scaled(y, 1.0), r = y - n, power = power_of_two(n);
    const Simd<double> e = fma(power, r * polynomial(r, Exp2Constants<double>::q), power - Simd<double>(1.0));
    const Simd<double> size = abs(e / (e + Simd<double>(2.0)));
    using Bits = Simd<double>::Bits;
    return from_bits<double>(to_bits(size) | (to_bits(x) & std::numeric_limits<Bits>::min()));
}

template <>
class ScaledTanh<double> {
  public:
    explicit ScaledTanh(double height) : height_(height) {}
    [[gnu::always_inline]] Simd<double> operator()(Simd<double> x) const {
        return tanh(x) * Simd<double>(height_);
    }

  private:
    double height_;
};

/// The derivative of tanh, 1 - tanh^2 = 4 u / (1 + u)^2 with u = exp(-2 |x|), also where tanh is all but 1.
template <Real T>
[[gnu::always_inline]] inline Simd<T> tanh_derivative(Simd<T> x) {
    const Simd<T> one(T(1));
    const auto of_any = [&](Simd<T> any) {
        const Simd<T> u = exp2_weight(abs(any) * Simd<T>(T(-2.885390081777926814719849))), sum = one + u;
        return Simd<T>(T(4)) * u / (sum * sum);
    };
    if constexpr (std::same_as<T, double>)
        return of_any(x);
    else
        return by_size(
            x, [&](Simd<T> below_half) { return tanh_derivative_of_small(tanh_of_small(below_half, one)); },
            of_any);
}

}  // namespace ring_attention::inline RING_ATTENTION_ABI::detail
RING_ATTENTION_PRECISE_END
