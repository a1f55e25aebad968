#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <utility>

#include <ring_attention/kernels/bfloat16.hpp>
#include <ring_attention/kernels/micro_kernel.hpp>

// Products of bfloat16 by the micro-kernel: its elements are pairs of neighbours along the depth, and one
// instruction adds both products of a lane to a sum in float (AVX512-BF16). A matrix (k,n) becomes (k/2,n)
// so.

RING_ATTENTION_PRECISE_BEGIN
namespace ring_attention::inline RING_ATTENTION_ABI::detail {

inline constexpr bool bfloat16_products = RING_ATTENTION_BFLOAT16_PRODUCTS != 0;

struct Bfloat16Pair {
    Bfloat16 first, second;
};

/// A pair in each lane of float, the first in the lower half.
struct Bfloat16Pairs {
    using Lanes = Bfloat16Lanes<float>::Bits;

    Lanes lanes;

    Bfloat16Pairs() = default;
    explicit Bfloat16Pairs(const Lanes& given) : lanes(given) {}
    /// The same pair in every lane.
    explicit Bfloat16Pairs(const Bfloat16Pair& pair) {
        std::uint32_t bits;
        std::memcpy(&bits, &pair, sizeof(bits));
        lanes = bits - Lanes{};
    }

    static Bfloat16Pairs load(const Bfloat16Pair* from) {
        Bfloat16Pairs x;
        std::memcpy(&x.lanes, from, sizeof(Lanes));
        return x;
    }

    void store(Bfloat16Pair* to) const { std::memcpy(to, &lanes, sizeof(Lanes)); }

    Simd<float> first() const { return Simd<float>(reinterpret_cast<Simd<float>::Lanes>(lanes << 16)); }
    Simd<float> second() const {
        return Simd<float>(reinterpret_cast<Simd<float>::Lanes>(lanes & 0xFFFF0000u));
    }
};

template <>
struct ProductElement<Bfloat16Pair> {
    using Sum = float;
    using Lanes = Bfloat16Pairs;
    [[gnu::always_inline]] static Lanes load(const Bfloat16Pair* from) { return Lanes::load(from); }
};

/// Both products of each lane are added to c, that of the second numbers before that of the first, each
/// rounded once; the instruction takes subnormal numbers for 0.
[[gnu::always_inline]] inline Simd<float> fma(Bfloat16Pairs a, Bfloat16Pairs b, Simd<float> c) {
#if defined(__AVX512BF16__)
    return Simd<float>(
        _mm512_dpbf16_ps(c.lanes, reinterpret_cast<__m512bh>(a.lanes), reinterpret_cast<__m512bh>(b.lanes)));
#else
    return fma(a.first(), b.first(), fma(a.second(), b.second(), c));
#endif
}

/// Rounded to the nearest, of two the even one; the instruction takes subnormal numbers for 0.
[[gnu::always_inline]] inline Bfloat16Pairs rounded_pairs(Simd<float> first, Simd<float> second) {
#if defined(__AVX512BF16__)
    const __m512bh halves = _mm512_cvtne2ps_pbh(second.lanes, first.lanes);
    const auto interleave = [&]<int... l>(std::integer_sequence<int, l...>) {
        typedef std::int16_t Words __attribute__((vector_size(simd_bytes)));
        const auto words = reinterpret_cast<Words>(halves);
        return reinterpret_cast<Bfloat16Pairs::Lanes>(
            __builtin_shufflevector(words, words, (l % 2 * 16 + l / 2)...));
    };
    return Bfloat16Pairs(interleave(std::make_integer_sequence<int, 32>{}));
#else
    return Bfloat16Pairs(rounded_bits(first) | rounded_bits(second) << 16);
#endif
}

/// Rows first and second, `count` numbers each, become one of pairs; where there is no second, it is 0.
inline void pair_rows(const Bfloat16* first, const Bfloat16* second, Index count, Bfloat16Pair* to) {
    constexpr Index width = Simd<float>::width;
    Index i = 0;
    for (; second && i + width <= count; i += width)
        Bfloat16Pairs(load_bits<float>(first + i) | load_bits<float>(second + i) << 16).store(to + i);
    for (; i < count; ++i) to[i] = {first[i], second ? second[i] : Bfloat16{}};
}

/// Pairs of neighbours of a row. The matrix has an even number of columns, and of numbers from a row to the
/// next.
inline MatrixView<const Bfloat16Pair> pairs_of_rows(const MatrixView<const Bfloat16>& rows) {
    return {reinterpret_cast<const Bfloat16Pair*>(rows.data), rows.rows, rows.cols / 2, rows.row_stride / 2,
            1};
}

}  // namespace ring_attention::inline RING_ATTENTION_ABI::detail
RING_ATTENTION_PRECISE_END
