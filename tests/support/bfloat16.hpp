#pragma once

#include <cstddef>
#include <vector>

#include <ring_attention/core/tensor.hpp>
#include <ring_attention/kernels/bfloat16.hpp>

namespace support {

namespace ra = ring_attention;

inline float rounded(float x) {
    ra::Bfloat16 narrow;
    ra::detail::round_numbers(&x, 1, &narrow);
    ra::detail::widen_numbers(&narrow, 1, &x);
    return x;
}

/// The same numbers, each rounded to a bfloat16.
template <class T>
ra::Tensor<T, 4> rounded(ra::Tensor<T, 4> x) {
    std::vector<ra::Bfloat16> narrow(std::size_t(x.size()));
    ra::detail::round_numbers(x.data(), x.size(), narrow.data());
    ra::detail::widen_numbers(narrow.data(), x.size(), x.data());
    return x;
}

}  // namespace support
