#pragma once

#include <cstddef>
#include <filesystem>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include <ring_attention/core/abi.hpp>
#include <ring_attention/core/error.hpp>

namespace ring_attention::inline RING_ATTENTION_ABI::detail {

/// Throws FileError: "weights.safetensors: tensor "bias" has dtype F32, expected F64".
[[noreturn]] inline void refuse_file(const std::filesystem::path& path, const std::string& sentence) {
    throw FileError(path.string() + ": " + sentence);
}

/// As refuse_file, with the reason that the operating system gives (errno).
[[noreturn]] inline void refuse_file(const std::filesystem::path& path, const std::string& sentence,
                                     int error_number) {
    refuse_file(path, sentence + " (" + std::generic_category().message(error_number) + ")");
}

/// Text that came out of a file, made fit for one line of a message: no control characters, not endless.
inline std::string printable(std::string_view text) {
    constexpr std::size_t longest = 80;
    std::size_t length = text.size();
    if (length > longest) {
        length = longest;
        // Never cut a UTF-8 character in two.
        while (length > 0 && (static_cast<unsigned char>(text[length]) & 0xC0u) == 0x80u) --length;
    }
    std::string shown(text.substr(0, length));
    for (char& c : shown)
        if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F) c = '?';
    return length < text.size() ? shown + "..." : shown;
}

inline std::string in_quotes(std::string_view text) {
    return '"' + printable(text) + '"';
}

/// "a", "b", "c" and 5 more
inline std::string list_in_quotes(const std::vector<std::string>& names) {
    constexpr std::size_t most = 3;
    std::string list;
    for (std::size_t i = 0; i < names.size() && i < most; ++i)
        list += (i > 0 ? ", " : "") + in_quotes(names[i]);
    return names.size() > most ? list + " and " + std::to_string(names.size() - most) + " more" : list;
}

}  // namespace ring_attention::inline RING_ATTENTION_ABI::detail
