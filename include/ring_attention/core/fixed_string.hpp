#pragma once

#include <algorithm>
#include <cstddef>
#include <string_view>

#include <ring_attention/core/abi.hpp>

namespace ring_attention::inline RING_ATTENTION_ABI {

/// A word as a template argument: Named<"head", Layer>.
template <std::size_t size>
struct FixedString {
    char characters[size] = {};  // with the 0 at the end

    constexpr FixedString(const char (&text)[size]) { std::copy_n(text, size, characters); }

    constexpr std::string_view view() const { return {characters, size - 1}; }
};

}  // namespace ring_attention::inline RING_ATTENTION_ABI
