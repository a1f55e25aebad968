#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>

#include <ring_attention/io/dtype.hpp>
#include <ring_attention/io/file_message.hpp>
#include <ring_attention/io/safetensors.hpp>

namespace ring_attention::inline RING_ATTENTION_ABI::detail {

/// IEEE 754 half precision as float, exactly. No subnormal float comes up, which a processor may be told to
/// take for 0.
inline float float_of_half(std::uint16_t half) {
    const std::uint32_t sign = std::uint32_t(half & 0x8000u) << 16, exponent = half >> 10 & 0x1Fu,
                        mantissa = half & 0x3FFu;
    if (exponent == 0) {
        const float magnitude = float(mantissa) * 0x1p-24f;
        return sign != 0 ? -magnitude : magnitude;
    }
    const std::uint32_t wide_exponent = exponent == 0x1F ? 0xFF : exponent + (127 - 15);
    return std::bit_cast<float>(sign | wide_exponent << 23 | mantissa << 13);
}

/// The dtypes of real numbers that are converted while they are read.
inline bool is_stored_float(std::string_view dtype) {
    return dtype == "F32" || dtype == "F16" || dtype == "BF16" || dtype == "F64";
}

/// Calls f(first, bytes) for `size` bytes of a tensor from its byte `begin` on, in pieces of whole numbers.
void read_in_pieces(const SafetensorsFile& file, std::string_view name, std::uint64_t begin,
                    std::uint64_t size, auto&& f) {
    std::array<std::byte, 32'768> piece;
    for (std::uint64_t done = 0; done < size;) {
        const std::size_t count = std::size_t(std::min<std::uint64_t>(piece.size(), size - done));
        file.read_bytes(name, begin + done, std::span(piece).first(count));
        f(std::size_t(done), std::span<const std::byte>(std::span(piece).first(count)));
        done += count;
    }
}

/// The numbers of a tensor from its number `first` on, converted: a narrower type exactly, a wider one
/// rounded once. The dtype has to be one that is_stored_float knows, else FileError.
template <Storable T>
requires(!std::integral<T>) void read_floats(const SafetensorsFile& file, std::string_view name,
                                             std::uint64_t first, std::span<T> numbers) {
    const std::string& dtype = file.entry(name).dtype;
    if (dtype == dtype_of<T>()) {
        file.read_bytes(name, first * sizeof(T), std::as_writable_bytes(numbers));
        return;
    }
    const auto convert = [&]<class Stored>(Stored, auto&& value_of) {
        read_in_pieces(file, name, first * sizeof(Stored), numbers.size() * sizeof(Stored),
                       [&](std::size_t begin, std::span<const std::byte> bytes) {
                           T* to = numbers.data() + begin / sizeof(Stored);
                           for (std::size_t i = 0; i < bytes.size(); i += sizeof(Stored)) {
                               Stored stored;
                               std::memcpy(&stored, bytes.data() + i, sizeof(stored));
                               *to++ = T(value_of(stored));
                           }
                       });
    };
    if (dtype == "F32")
        convert(float(), [](float value) { return value; });
    else if (dtype == "F64")
        convert(double(), [](double value) { return value; });
    else if (dtype == "F16")
        convert(std::uint16_t(), float_of_half);
    else if (dtype == "BF16")
        convert(Bfloat16(), [](Bfloat16 value) { return float(value); });
    else
        refuse_file(file.path(), "tensor " + in_quotes(name) + " has dtype " + printable(dtype) +
                                     ", expected F32, F16, BF16 or F64");
}

}  // namespace ring_attention::inline RING_ATTENTION_ABI::detail
