#pragma once

#include <cstddef>
#include <filesystem>
#include <set>
#include <span>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include <ring_attention/io/file_message.hpp>
#include <ring_attention/io/posix_file.hpp>

namespace ring_attention::inline RING_ATTENTION_ABI::detail {

/// The whole file. Throws FileError if it cannot be read or is larger than any that is meant to be read so.
inline std::string read_small_file(const std::filesystem::path& path) {
    constexpr std::uint64_t most = 100'000'000;
    const OpenedFile file = open_for_reading(path);
    if (file.size > most)
        refuse_file(path,
                    "has " + std::to_string(file.size) + " bytes, expected at most " + std::to_string(most));
    std::string text(std::size_t(file.size), '\0');
    read_at(file.descriptor, path, 0, std::as_writable_bytes(std::span(text)));
    return text;
}

/// The object that the text is. Throws FileError if it is anything else, or says a name twice: readers do not
/// agree which of the two they take.
inline nlohmann::json parse_json_object(const std::filesystem::path& path, const std::string& text) {
    using nlohmann::json;
    constexpr int deepest = 64;
    std::vector<std::set<std::string>> names;  // of each object that is open
    const auto watch = [&](int depth, json::parse_event_t event, json& parsed) {
        if (depth > deepest)
            refuse_file(path, "nests deeper than " + std::to_string(deepest) + " levels, expected a few");
        if (event == json::parse_event_t::object_start) names.emplace_back();
        if (event == json::parse_event_t::object_end) names.pop_back();
        if (event == json::parse_event_t::key) {
            const auto& name = parsed.get_ref<const std::string&>();
            if (!names.back().insert(name).second)
                refuse_file(path, "has the name " + in_quotes(name) + " twice in one object, expected once");
        }
        return true;
    };
    // The JSON parser would take a zero byte for the end of the text, and leave the rest unread.
    if (const std::size_t zero = text.find('\0'); zero != std::string::npos)
        refuse_file(path, "has a zero byte at " + std::to_string(zero) + ", expected JSON in UTF-8");
    json object;
    try {
        object = json::parse(text, watch);
    } catch (const json::parse_error& error) {
        refuse_file(path,
                    "is not valid at its byte " + std::to_string(error.byte) + ", expected JSON in UTF-8");
    } catch (const json::exception&) {
        refuse_file(path, "has a number that is too large, expected JSON of finite numbers");
    }
    if (!object.is_object()) refuse_file(path, "is " + printable(object.dump()) + ", expected a JSON object");
    return object;
}

inline nlohmann::json read_json_object(const std::filesystem::path& path) {
    return parse_json_object(path, read_small_file(path));
}

}  // namespace ring_attention::inline RING_ATTENTION_ABI::detail
