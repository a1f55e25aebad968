#pragma once

#include <charconv>
#include <filesystem>
#include <string>
#include <system_error>
#include <type_traits>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

namespace ring_lm {

/// The number that the whole text is, in decimal. Throws CLI::ValidationError unless it is one of low ...
/// high; NaN and infinity are none.
template <class T>
T number_in(const std::string& option, const std::string& text, T low, T high) {
    T number{};
    const char* const text_end = text.data() + text.size();
    const auto [end, error] = std::from_chars(text.data(), text_end, number);
    if (error != std::errc() || end != text_end || !(number >= low && number <= high))
        throw CLI::ValidationError(option,
                                   fmt::format("'{}', expected a number from {} to {}", text, low, high));
    return number;
}

/// An option whose value is a number from low to high.
template <class T>
CLI::Option* add_number(CLI::App* command, const std::string& name, T& value, std::type_identity_t<T> low,
                        std::type_identity_t<T> high, const std::string& help) {
    return command
        ->add_option_function<std::string>(
            name, [=, &value](const std::string& text) { value = number_in<T>(name, text, low, high); }, help)
        ->type_name(fmt::format("{} to {}", low, high))
        ->default_str(fmt::format("{}", value));
}

/// A file or folder, whose name is not empty.
inline CLI::Option* add_path(CLI::App* command, const std::string& name, std::filesystem::path& path,
                             const std::string& help) {
    return command->add_option(name, path, help)
        ->type_name("PATH")
        ->check(CLI::Validator(
            [](const std::string& text) {
                return text.empty() ? "is empty, expected a name" : std::string();
            },
            ""));
}

}  // namespace ring_lm
