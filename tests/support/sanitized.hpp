#pragma once

#include <cstdint>

namespace support {

/// Whether a sanitizer watches. A case takes ten times as long then, and what it looks for a part of them
/// shows.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
inline constexpr bool sanitized = true;
#elif defined(__has_feature)
inline constexpr bool sanitized = __has_feature(address_sanitizer) || __has_feature(thread_sanitizer);
#else
inline constexpr bool sanitized = false;
#endif

/// How many of random cases to take.
constexpr std::uint64_t num_cases(std::uint64_t count) {
    return sanitized ? count / 5 : count;
}

/// Whether to take the case with this number of those that one after the other are made of all there is: a
/// third of them shows what a sanitizer looks for.
constexpr bool takes(std::uint64_t number) {
    return !sanitized || number % 3 == 0;
}

}  // namespace support
