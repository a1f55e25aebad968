#pragma once

#include <Eigen/Core>

// What the preprocessor decides about the code of this library: the width of vectors, the instructions, what
// Eigen aligns. Two units of one program may decide it differently (-march=x86-64-v3 in one, x86-64-v4 in the
// other), and of functions of one name the linker keeps one. So all of it is part of the name: an inline
// namespace, which nobody has to write.

#define RING_ATTENTION_JOIN_(a, b, c) a##_##b##_##c
#define RING_ATTENTION_JOIN(a, b, c) RING_ATTENTION_JOIN_(a, b, c)

#if defined(__AVX512F__) && defined(__AVX512DQ__)
#define RING_ATTENTION_INSTRUCTIONS avx512dq
#elif defined(__AVX512F__)
#define RING_ATTENTION_INSTRUCTIONS avx512f
#elif defined(__AVX__)
#define RING_ATTENTION_INSTRUCTIONS avx
#elif defined(__aarch64__)
#define RING_ATTENTION_INSTRUCTIONS neon
#else
#define RING_ATTENTION_INSTRUCTIONS generic
#endif

#if defined(__FMA__)
#define RING_ATTENTION_PRODUCTS fma
#else
#define RING_ATTENTION_PRODUCTS no_fma
#endif

#if EIGEN_MAX_ALIGN_BYTES >= 64
#define RING_ATTENTION_ALIGNMENT align64
#elif EIGEN_MAX_ALIGN_BYTES >= 32
#define RING_ATTENTION_ALIGNMENT align32
#elif EIGEN_MAX_ALIGN_BYTES >= 16
#define RING_ATTENTION_ALIGNMENT align16
#else
#define RING_ATTENTION_ALIGNMENT align0
#endif

#define RING_ATTENTION_ABI \
    RING_ATTENTION_JOIN(RING_ATTENTION_INSTRUCTIONS, RING_ATTENTION_PRODUCTS, RING_ATTENTION_ALIGNMENT)

namespace ring_attention::inline RING_ATTENTION_ABI {}
