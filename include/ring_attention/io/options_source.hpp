#pragma once

#include <string>
#include <string_view>
#include <type_traits>

#include <ring_attention/io/option_list.hpp>
#include <ring_attention/models/transformer_options.hpp>

namespace ring_attention::inline RING_ATTENTION_ABI {

namespace detail {

/// The value as C++ code.
template <class T>
std::string literal(const T& value) {
    if constexpr (std::is_enum_v<T>) {
        return "ra::" + option_text(value);
    } else if constexpr (std::is_same_v<T, float>) {
        const std::string text = shortest_text(value);
        return text + (text.find_first_of(".e") == std::string::npos ? ".0f" : "f");
    } else {
        return option_text(value);
    }
}

}  // namespace detail

/// The definition of a constexpr TransformerOptions, ready to be pasted: a line with a comment for each
/// member that is not as by default.
inline std::string options_source(const TransformerOptions& options, std::string_view name = "options") {
    const TransformerOptions defaults;
    std::string outer, inner, after;
    bool is_behind = false;  // of the members of `rotary`, which are together
    detail::for_each_option(
        [&](std::string_view member, const char* comment, const auto& value, const auto& usual) {
            const bool is_inner = member.starts_with("rotary.");
            is_behind = is_behind || is_inner;
            if (value == usual) return;
            std::string& lines = is_inner ? inner : is_behind ? after : outer;
            lines += std::string(is_inner ? "        ." : "    .") +
                     std::string(is_inner ? member.substr(7) : member) + " = " + detail::literal(value) +
                     ",  // " + comment + "\n";
        },
        options, defaults);
    if (!inner.empty()) inner = "    .rotary = {\n" + inner + "    },\n";
    const std::string lines = outer + inner + after;
    return "constexpr ra::TransformerOptions " + std::string(name) +
           (lines.empty() ? "{};\n" : "{\n" + lines + "};\n");
}

}  // namespace ring_attention::inline RING_ATTENTION_ABI
