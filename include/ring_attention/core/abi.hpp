#pragma once

#include <version>  // what the standard library is compiled as

#include <Eigen/Core>

// How the library may be compiled, and under which name. What the preprocessor decides about the code or the
// layout of this library may differ between two units of one program (-march=x86-64-v3 in one, x86-64-v4 in
// the other), and of functions of one name the linker keeps one. So all of it is part of the name: an inline
// namespace, which nobody has to write.

// As macros these would be in the way of std::min and std::max; whoever defines them loses them here.
#undef min
#undef max

#if __cplusplus < 202002L
#error "ring_attention needs C++20: compile with -std=c++20 or newer"
#endif
#if !defined(__cpp_exceptions)
#error "ring_attention reports errors by exceptions: compile without -fno-exceptions"
#endif
#if defined(__FAST_MATH__) || defined(__ASSOCIATIVE_MATH__) || defined(__RECIPROCAL_MATH__) || \
    (defined(__FINITE_MATH_ONLY__) && __FINITE_MATH_ONLY__)
#error "ring_attention needs the arithmetic of IEEE 754: compile without -ffast-math, -Ofast and their parts"
#endif
#if defined(EIGEN_NO_MALLOC)
#error "ring_attention keeps its numbers on the heap: compile without EIGEN_NO_MALLOC"
#endif

#if defined(__AVX512F__) && defined(__AVX512DQ__)
#define RING_ATTENTION_INSTRUCTIONS avx512dq
#elif defined(__AVX512F__)
#define RING_ATTENTION_INSTRUCTIONS avx512f
#elif defined(__AVX__) && defined(__FMA__)
#define RING_ATTENTION_INSTRUCTIONS avx_fma
#elif defined(__AVX__)
#define RING_ATTENTION_INSTRUCTIONS avx
#elif defined(__aarch64__)
#define RING_ATTENTION_INSTRUCTIONS neon
#else
#define RING_ATTENTION_INSTRUCTIONS generic
#endif

// Whether products of numbers that are kept as bfloat16 are made of pairs of them, by one instruction: where
// it does twice the work of a multiply-add. On Intel's since Sapphire Rapids it does half (there AMX is for
// that), and compilers take those without AMX for Cooper Lake. Zen 4 is znver3 to compilers that are older
// than it.
#if defined(__AVX512BF16__) && (defined(__znver3__) || defined(__znver4__) || defined(__znver5__))
#define RING_ATTENTION_BFLOAT16_PRODUCTS_DEFAULT 1
#else
#define RING_ATTENTION_BFLOAT16_PRODUCTS_DEFAULT 0
#endif
#if !defined(RING_ATTENTION_BFLOAT16_PRODUCTS)
#define RING_ATTENTION_BFLOAT16_PRODUCTS RING_ATTENTION_BFLOAT16_PRODUCTS_DEFAULT
#endif
#if RING_ATTENTION_BFLOAT16_PRODUCTS && defined(__AVX512BF16__)
#define RING_ATTENTION_PRODUCTS bfloat16
#elif RING_ATTENTION_BFLOAT16_PRODUCTS
#define RING_ATTENTION_PRODUCTS like_bfloat16
#else
#define RING_ATTENTION_PRODUCTS widened
#endif

// What Eigen aligns that it allocates, what it aligns in place, and whether it uses vectors.
#if EIGEN_DEFAULT_ALIGN_BYTES >= 64
#define RING_ATTENTION_ALLOCATED align64
#elif EIGEN_DEFAULT_ALIGN_BYTES >= 32
#define RING_ATTENTION_ALLOCATED align32
#elif EIGEN_DEFAULT_ALIGN_BYTES >= 16
#define RING_ATTENTION_ALLOCATED align16
#else
#define RING_ATTENTION_ALLOCATED align0
#endif

#if EIGEN_MAX_STATIC_ALIGN_BYTES >= 64
#define RING_ATTENTION_IN_PLACE 64
#elif EIGEN_MAX_STATIC_ALIGN_BYTES >= 32
#define RING_ATTENTION_IN_PLACE 32
#elif EIGEN_MAX_STATIC_ALIGN_BYTES >= 16
#define RING_ATTENTION_IN_PLACE 16
#else
#define RING_ATTENTION_IN_PLACE 0
#endif

#if defined(EIGEN_VECTORIZE)
#define RING_ATTENTION_EIGEN vectors
#else
#define RING_ATTENTION_EIGEN scalars
#endif

// Members from the standard library: strings and vectors are others in these cases.
#if defined(_LIBCPP_VERSION)
#define RING_ATTENTION_STANDARD_LIBRARY libcxx
#elif defined(_GLIBCXX_DEBUG)
#define RING_ATTENTION_STANDARD_LIBRARY debug
#else
#define RING_ATTENTION_STANDARD_LIBRARY std
#endif

#if defined(_GLIBCXX_USE_CXX11_ABI) && !_GLIBCXX_USE_CXX11_ABI
#define RING_ATTENTION_STRINGS old_strings
#else
#define RING_ATTENTION_STRINGS strings
#endif

#define RING_ATTENTION_JOIN_(a, b, c, d, e, f, g) a##_##b##_##c##_##d##_##e##_##f##_##g
#define RING_ATTENTION_JOIN(a, b, c, d, e, f, g) RING_ATTENTION_JOIN_(a, b, c, d, e, f, g)

#define RING_ATTENTION_ABI                                                                              \
    RING_ATTENTION_JOIN(RING_ATTENTION_INSTRUCTIONS, RING_ATTENTION_PRODUCTS, RING_ATTENTION_ALLOCATED, \
                        RING_ATTENTION_IN_PLACE, RING_ATTENTION_EIGEN, RING_ATTENTION_STANDARD_LIBRARY, \
                        RING_ATTENTION_STRINGS)

namespace ring_attention::inline RING_ATTENTION_ABI {

static_assert(sizeof(1.0) == sizeof(double), "ring_attention: compile without -fsingle-precision-constant");

}  // namespace ring_attention::inline RING_ATTENTION_ABI

// Clang defines no macro for some parts of -ffast-math (-fassociative-math with -fno-signed-zeros and
// -fno-trapping-math, -fno-honor-nans, ...), but lets a header keep its arithmetic as it is written.
#if defined(__clang__) && (defined(__x86_64__) || __clang_major__ >= 22)  // before, for few processors
#define RING_ATTENTION_PRECISE_BEGIN _Pragma("float_control(precise, on, push)")
#define RING_ATTENTION_PRECISE_END _Pragma("float_control(pop)")
#else
#define RING_ATTENTION_PRECISE_BEGIN
#define RING_ATTENTION_PRECISE_END
#endif
