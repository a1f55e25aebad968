#pragma once

#include <concepts>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>

#include <ring_attention/core/abi.hpp>

// A SIMD vector on the vector extensions of GCC and Clang, as wide as the registers of the target.

RING_ATTENTION_PRECISE_BEGIN
namespace ring_attention::inline RING_ATTENTION_ABI::detail {

template <class T>
concept Real = std::same_as<T, float> || std::same_as<T, double>;

#if defined(__AVX512F__)
inline constexpr int simd_bytes = 64, simd_registers = 32;
#elif defined(__AVX__)
inline constexpr int simd_bytes = 32, simd_registers = 16;
#elif defined(__aarch64__)
inline constexpr int simd_bytes = 16, simd_registers = 32;
#else
inline constexpr int simd_bytes = 16, simd_registers = 16;
#endif

template <class T>
struct SimdTypes;

template <>
struct SimdTypes<float> {
    using Bits = std::int32_t;
    typedef float Lanes __attribute__((vector_size(simd_bytes)));
    typedef std::int32_t Predicate __attribute__((vector_size(simd_bytes)));
};

template <>
struct SimdTypes<double> {
    using Bits = std::int64_t;
    typedef double Lanes __attribute__((vector_size(simd_bytes)));
    typedef std::int64_t Predicate __attribute__((vector_size(simd_bytes)));
};

/// Calls f(0), ..., f(count - 1) with constants, so that an array which f indexes by them can live in
/// registers.
template <int count>
[[gnu::always_inline]] inline void unrolled(auto&& f) {
    [&]<int... i>(std::integer_sequence<int, i...>) __attribute__((always_inline)) {
        (f(std::integral_constant<int, i>{}), ...);
    }
    (std::make_integer_sequence<int, count>{});
}

/// As many numbers as a register holds. Operators work lane by lane; a comparison gives a Predicate.
template <Real T>
struct Simd {
    using Lanes = typename SimdTypes<T>::Lanes;
    using Predicate = typename SimdTypes<T>::Predicate;
    using Bits = typename SimdTypes<T>::Bits;
    static constexpr int width = simd_bytes / int(sizeof(T));

    Lanes lanes;

    Simd() = default;
    Simd(const Lanes& given) : lanes(given) {}
    /// The same number in every lane.
    Simd(T number) : lanes(number - Lanes{}) {}

    static Simd load(const T* from) {
        Simd x;
        std::memcpy(&x.lanes, from, sizeof(Lanes));
        return x;
    }

    void store(T* to) const { std::memcpy(to, &lanes, sizeof(Lanes)); }

    friend Simd operator+(Simd a, Simd b) { return a.lanes + b.lanes; }
    friend Simd operator-(Simd a, Simd b) { return a.lanes - b.lanes; }
    friend Simd operator*(Simd a, Simd b) { return a.lanes * b.lanes; }
    friend Simd operator/(Simd a, Simd b) { return a.lanes / b.lanes; }
    friend Simd operator-(Simd a) { return -a.lanes; }
    friend Predicate operator<(Simd a, Simd b) { return a.lanes < b.lanes; }
    friend Predicate operator>(Simd a, Simd b) { return a.lanes > b.lanes; }
};

/// The bits of the lanes as integers, and back.
template <Real T>
[[gnu::always_inline]] inline typename Simd<T>::Predicate to_bits(Simd<T> x) {
    return reinterpret_cast<typename Simd<T>::Predicate>(x.lanes);
}

template <Real T>
[[gnu::always_inline]] inline Simd<T> from_bits(typename Simd<T>::Predicate bits) {
    return reinterpret_cast<typename Simd<T>::Lanes>(bits);
}

}  // namespace ring_attention::inline RING_ATTENTION_ABI::detail
RING_ATTENTION_PRECISE_END
