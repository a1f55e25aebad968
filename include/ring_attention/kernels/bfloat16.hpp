#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include <ring_attention/core/storage.hpp>
#include <ring_attention/core/types.hpp>
#include <ring_attention/kernels/simd.hpp>

// Numbers of half the size of a float, for memory and travel. They are widened before anything is computed
// with them, but for products of pairs (bfloat16_pairs.hpp).

RING_ATTENTION_PRECISE_BEGIN
namespace ring_attention::inline RING_ATTENTION_ABI {

/// The upper half of a float: all of its range, and 8 bits of precision. To be kept and converted; there is
/// no arithmetic of it.
struct Bfloat16 {
    std::uint16_t bits;

    Bfloat16() = default;
    /// The nearest, of two the even one; a NaN stays one.
    explicit Bfloat16(double number);
    static constexpr Bfloat16 from_bits(std::uint16_t bits) {
        Bfloat16 number{};
        number.bits = bits;
        return number;
    }

    /// Exactly.
    template <std::floating_point T>
    explicit operator T() const {
        return T(std::bit_cast<float>(std::uint32_t(bits) << 16));
    }

    /// The same bits: a NaN equals itself, and 0 not -0.
    bool operator==(const Bfloat16&) const = default;
};

namespace detail {

/// Constant where T is.
template <class T>
using Bfloat16Like = std::conditional_t<std::is_const_v<T>, const Bfloat16, Bfloat16>;

/// What T is kept as.
template <class T, Storage storage>
using StoredAs = std::conditional_t<storage == Storage::bfloat16, Bfloat16, T>;

/// Layers ask this where their gradient is wanted: it must be, else the program is refused in a sentence.
template <Storage weights>
constexpr bool has_gradient() {
    static_assert(weights == Storage::computing,
                  "weights kept as bfloat16 are for inference: a model that learns has Storage::computing");
    return weights == Storage::computing;
}

/// As many of them as a Simd<T> has lanes, and what lies between the two.
template <Real T>
struct Bfloat16Lanes;

template <>
struct Bfloat16Lanes<float> {
    typedef std::uint16_t Narrow __attribute__((vector_size(simd_bytes / 2)));
    typedef std::uint32_t FloatBits __attribute__((vector_size(simd_bytes)));
    typedef float Floats __attribute__((vector_size(simd_bytes)));
    using Bits = FloatBits;
};

template <>
struct Bfloat16Lanes<double> {
    typedef std::uint16_t Narrow __attribute__((vector_size(simd_bytes / 4)));
    typedef std::uint32_t FloatBits __attribute__((vector_size(simd_bytes / 2)));
    typedef float Floats __attribute__((vector_size(simd_bytes / 2)));
    typedef std::uint64_t Bits __attribute__((vector_size(simd_bytes)));
};

/// As many as a Simd<T> has lanes, each in the lower half of 32 bits. One instruction, where g++ 12 makes
/// five of the conversion.
template <Real T>
[[gnu::always_inline]] inline typename Bfloat16Lanes<T>::FloatBits load_bits(const Bfloat16* from) {
    using Lanes = Bfloat16Lanes<T>;
    using FloatBits = typename Lanes::FloatBits;
#if defined(__AVX512F__)
    if constexpr (sizeof(FloatBits) == 64)
        return reinterpret_cast<FloatBits>(_mm512_maskz_cvtepu16_epi32(
            __mmask16(-1), _mm256_loadu_si256(reinterpret_cast<const __m256i_u*>(from))));
#endif
#if defined(__AVX2__)
    if constexpr (sizeof(FloatBits) == 32)
        return reinterpret_cast<FloatBits>(
            _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i_u*>(from))));
#endif
    typename Lanes::Narrow narrow;
    std::memcpy(&narrow, from, sizeof(narrow));
    return __builtin_convertvector(narrow, FloatBits);
}

/// A vector of numbers, exactly.
template <Real T>
[[gnu::always_inline]] inline Simd<T> widen(const Bfloat16* from) {
    using Lanes = Bfloat16Lanes<T>;
    const auto bits = load_bits<T>(from) << 16;
    return Simd<T>(
        __builtin_convertvector(reinterpret_cast<typename Lanes::Floats>(bits), typename Simd<T>::Lanes));
}

/// A vector of numbers, as they are or exactly.
template <Real T>
[[gnu::always_inline]] inline Simd<T> load_as(const T* from) {
    return Simd<T>::load(from);
}
template <Real T>
[[gnu::always_inline]] inline Simd<T> load_as(const Bfloat16* from) {
    return widen<T>(from);
}

/// The first n numbers, 0 < n < width, and 0 in the other lanes.
template <Real T>
[[gnu::always_inline]] inline Simd<T> load_partial_as(const T* from, Index n) {
    return load_partial(from, n);
}
template <Real T>
Simd<T> load_partial_as(const Bfloat16* from, Index n) {
    std::array<Bfloat16, std::size_t(Simd<T>::width)> numbers{};
    std::copy_n(from, n, numbers.data());
    return widen<T>(numbers.data());
}

inline bool all_finite(const Bfloat16* x, Index n) {
    constexpr std::uint16_t exponent = 0x7F80;
    return std::none_of(x, x + n, [](Bfloat16 number) { return (number.bits & exponent) == exponent; });
}

/// The bits of the nearest Bfloat16, of two the even one; a NaN stays one.
[[gnu::always_inline]] inline Bfloat16Lanes<float>::Bits rounded_bits(Simd<float> x) {
    using Bits = Bfloat16Lanes<float>::Bits;
    const auto bits = reinterpret_cast<Bits>(x.lanes);
    const Bits upper = bits >> 16, nearest = (bits + 0x7FFFu + (upper & 1u)) >> 16;
    return (bits & 0x7FFFFFFFu) > 0x7F800000u ? upper | 0x40u : nearest;
}

/// In one step: through float it would be rounded twice.
[[gnu::always_inline]] inline Bfloat16Lanes<double>::Bits rounded_bits(Simd<double> x) {
    using Bits = Bfloat16Lanes<double>::Bits;
    constexpr std::uint64_t one = 1, infinity = 0x7F80, lost = 52 - 7, rebase = (one * (1023 - 127)) << 52;
    const auto bits = reinterpret_cast<Bits>(x.lanes);
    const Bits magnitude = bits & (~std::uint64_t(0) >> 1), sign = bits >> 63 << 15;
    // With the exponent of a float; what lies beyond its range is infinite.
    const Bits based = magnitude - rebase, upper = based >> lost,
               nearest = (based + ((one << (lost - 1)) - 1) + (upper & one)) >> lost;
    const Bits finite = nearest < infinity ? nearest : Bits{} + infinity;
    // Below 2^-126 they are multiples of 2^-133, the last place of a double that begins with 2^-81.
    const Simd<double> step(0x1p-81);
    const Bits tiny = reinterpret_cast<Bits>((abs(x) + step).lanes) - reinterpret_cast<Bits>(step.lanes);
    const Bits number = magnitude < rebase + (one << 52) ? tiny : finite;
    const Bits quiet_nan = infinity | 0x40u | (magnitude >> lost & 0x3Fu);
    return sign | (magnitude > (std::uint64_t(0x7FF) << 52) ? quiet_nan : number);
}

template <Real T>
[[gnu::always_inline]] inline void round_to(Simd<T> x, Bfloat16* to) {
    const auto narrow = __builtin_convertvector(rounded_bits(x), typename Bfloat16Lanes<T>::Narrow);
    std::memcpy(to, &narrow, sizeof(narrow));
}

/// numbers := the nearest that are Bfloat16; whole vectors of them.
inline void round_in_place(float* numbers, Index count) {
    for (Index i = 0; i < count; i += Simd<float>::width) {
        const auto bits = rounded_bits(Simd<float>::load(numbers + i)) << 16;
        Simd<float>(reinterpret_cast<Bfloat16Lanes<float>::Floats>(bits)).store(numbers + i);
    }
}

template <Real T>
void widen_numbers(const Bfloat16* from, Index count, T* to) {
    constexpr Index width = Simd<T>::width;
    for (; count >= width; from += width, to += width, count -= width) widen<T>(from).store(to);
    if (count == 0) return;
    std::array<Bfloat16, std::size_t(width)> rest{};
    std::copy_n(from, count, rest.data());
    store_partial(widen<T>(rest.data()), to, count);
}

template <Real T>
void round_numbers(const T* from, Index count, Bfloat16* to) {
    constexpr Index width = Simd<T>::width;
    for (; count >= width; from += width, to += width, count -= width) round_to(Simd<T>::load(from), to);
    if (count == 0) return;
    std::array<Bfloat16, std::size_t(width)> rest;
    round_to(load_partial(from, count), rest.data());
    std::copy_n(rest.data(), count, to);
}

}  // namespace detail

inline Bfloat16::Bfloat16(double number)
    : bits(std::uint16_t(detail::rounded_bits(detail::Simd<double>(number))[0])) {}

}  // namespace ring_attention::inline RING_ATTENTION_ABI
RING_ATTENTION_PRECISE_END
