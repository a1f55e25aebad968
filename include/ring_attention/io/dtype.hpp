#pragma once

#include <array>
#include <concepts>
#include <cstddef>
#include <limits>
#include <string_view>

#include <ring_attention/kernels/bfloat16.hpp>

namespace ring_attention::inline RING_ATTENTION_ABI {

/// The numbers that are written to files and read back, to the bit.
template <class T>
concept Storable = std::same_as<T, float> || std::same_as<T, double> || std::same_as<T, Bfloat16> ||
    (std::integral<T> && !std::same_as<T, bool>);

/// The name that the safetensors format has for the type: "F32", "BF16", "I64".
template <Storable T>
constexpr std::string_view dtype_of() {
    if constexpr (std::floating_point<T>) {
        static_assert(std::numeric_limits<T>::is_iec559, "files hold IEEE 754 numbers");
        return sizeof(T) == 4 ? "F32" : "F64";
    } else if constexpr (std::same_as<T, Bfloat16>) {
        return "BF16";
    } else if constexpr (std::signed_integral<T>) {
        return sizeof(T) == 1 ? "I8" : sizeof(T) == 2 ? "I16" : sizeof(T) == 4 ? "I32" : "I64";
    } else {
        return sizeof(T) == 1 ? "U8" : sizeof(T) == 2 ? "U16" : sizeof(T) == 4 ? "U32" : "U64";
    }
}

namespace detail {

struct Dtype {
    std::string_view name;
    unsigned bits;  // of one number
};

// What the format knows, in the order of the reference implementation: its writer puts the last first, so
// that every tensor lies at a multiple of its own size.
inline constexpr std::array<Dtype, 22> dtypes{
    {{"BOOL", 8},    {"F4", 4},      {"F6_E2M3", 6}, {"F6_E3M2", 6},     {"U8", 8},          {"I8", 8},
     {"F8_E5M2", 8}, {"F8_E4M3", 8}, {"F8_E8M0", 8}, {"F8_E4M3FNUZ", 8}, {"F8_E5M2FNUZ", 8}, {"I16", 16},
     {"U16", 16},    {"F16", 16},    {"BF16", 16},   {"I32", 32},        {"U32", 32},        {"F32", 32},
     {"C64", 64},    {"F64", 64},    {"I64", 64},    {"U64", 64}}};

/// Null for a name that is not known.
constexpr const Dtype* find_dtype(std::string_view name) {
    for (const Dtype& dtype : dtypes)
        if (dtype.name == name) return &dtype;
    return nullptr;
}

}  // namespace detail

}  // namespace ring_attention::inline RING_ATTENTION_ABI
