#pragma once

#include <array>
#include <concepts>
#include <cstddef>
#include <limits>
#include <string_view>

#include <ring_attention/core/abi.hpp>

namespace ring_attention::inline RING_ATTENTION_ABI {

/// The numbers that are written to files and read back, to the bit.
template <class T>
concept Storable = std::same_as<T, float> || std::same_as<T, double> ||
    (std::integral<T> && !std::same_as<T, bool>);

/// The name that the safetensors format has for the type: "F32", "I64".
template <Storable T>
constexpr std::string_view dtype_of() {
    if constexpr (std::floating_point<T>) {
        static_assert(std::numeric_limits<T>::is_iec559, "files hold IEEE 754 numbers");
        return sizeof(T) == 4 ? "F32" : "F64";
    } else if constexpr (std::signed_integral<T>) {
        return sizeof(T) == 1 ? "I8" : sizeof(T) == 2 ? "I16" : sizeof(T) == 4 ? "I32" : "I64";
    } else {
        return sizeof(T) == 1 ? "U8" : sizeof(T) == 2 ? "U16" : sizeof(T) == 4 ? "U32" : "U64";
    }
}

namespace detail {

struct Dtype {
    std::string_view name;
    std::size_t size;  // bytes
};

// Everything of whole bytes that the format knows, in the order of the reference implementation: its writer
// puts the last first, so that every tensor lies at a multiple of its own size. Half precision can be listed,
// not read.
inline constexpr std::array<Dtype, 17> dtypes{{{"BOOL", 1},
                                               {"U8", 1},
                                               {"I8", 1},
                                               {"F8_E5M2", 1},
                                               {"F8_E4M3", 1},
                                               {"F8_E8M0", 1},
                                               {"I16", 2},
                                               {"U16", 2},
                                               {"F16", 2},
                                               {"BF16", 2},
                                               {"I32", 4},
                                               {"U32", 4},
                                               {"F32", 4},
                                               {"C64", 8},
                                               {"F64", 8},
                                               {"I64", 8},
                                               {"U64", 8}}};

/// Null for a name that is not known.
constexpr const Dtype* find_dtype(std::string_view name) {
    for (const Dtype& dtype : dtypes)
        if (dtype.name == name) return &dtype;
    return nullptr;
}

}  // namespace detail

}  // namespace ring_attention::inline RING_ATTENTION_ABI
