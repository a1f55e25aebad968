#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <limits>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include <ring_attention/io/file_message.hpp>
#include <ring_attention/io/safetensors_header.hpp>

namespace ring_attention::inline RING_ATTENTION_ABI::detail {

/// Turns the events of a JSON parser into a SafetensorsHeader and throws FileError at the first that does not
/// belong. No tree is built: nothing can nest deeper than the format does, and no duplicate name is lost.
class SafetensorsHeaderReader {
  public:
    explicit SafetensorsHeaderReader(const std::filesystem::path& path) : path_(path) {}

    SafetensorsHeader take() { return std::move(header_); }

    // The events, by the names and types that nlohmann::json::sax_parse asks for; false would stop it.

    bool null() { unexpected("null"); }
    bool boolean(bool value) { unexpected(value ? "true" : "false"); }
    bool number_integer(std::int64_t value) { unexpected(std::to_string(value)); }
    bool number_float(double, const std::string& text) { unexpected(text); }
    bool binary(std::vector<std::uint8_t>&) { unexpected("binary data"); }

    bool number_unsigned(std::uint64_t value) {
        if (place_ == Place::shape && value <= std::uint64_t(std::numeric_limits<Index>::max()))
            entry_.shape.push_back(Index(value));
        else if (place_ == Place::offsets && offsets_.size() < 2)
            offsets_.push_back(value);
        else
            unexpected(std::to_string(value));
        return true;
    }

    bool string(std::string& value) {
        if (place_ == Place::metadata)
            header_.metadata[key_] = std::move(value);
        else if (place_ == Place::entry && key_ == "dtype")
            entry_.dtype = std::move(value);
        else
            unexpected(in_quotes(value));
        return true;
    }

    bool start_object(std::size_t) {
        if (place_ == Place::outside)
            place_ = Place::top;
        else if (place_ == Place::top && key_ == metadata_key)
            place_ = Place::metadata;
        else if (place_ == Place::top)
            start_entry();
        else
            unexpected("an object");
        return true;
    }

    bool key(std::string& name) {
        key_ = std::move(name);
        if (place_ == Place::entry && key_ != "dtype" && key_ != "shape" && key_ != "data_offsets")
            refuse_file(path_, "tensor " + in_quotes(name_) + " has a field " + in_quotes(key_) +
                                   ", expected dtype, shape and data_offsets");
        std::set<std::string>& known = place_ == Place::top        ? names_
                                       : place_ == Place::metadata ? metadata_names_
                                                                   : fields_;
        if (!known.insert(key_).second)
            refuse_file(path_, "the name " + in_quotes(key_) + " appears twice in the header, expected once");
        return true;
    }

    bool end_object() {
        if (place_ == Place::entry) end_entry();
        place_ = place_ == Place::top ? Place::outside : Place::top;
        return true;
    }

    bool start_array(std::size_t) {
        if (place_ == Place::entry && key_ == "shape")
            place_ = Place::shape;
        else if (place_ == Place::entry && key_ == "data_offsets")
            place_ = Place::offsets;
        else
            unexpected("an array");
        return true;
    }

    bool end_array() {
        if (place_ == Place::offsets && offsets_.size() != 2) unexpected(std::to_string(offsets_.size()));
        place_ = Place::entry;
        return true;
    }

    bool parse_error(std::size_t position, const std::string&, const nlohmann::json::exception&) {
        refuse_file(path_, "the header is not valid at its byte " + std::to_string(position) +
                               ", expected JSON in UTF-8");
    }

  private:
    enum class Place { outside, top, metadata, entry, shape, offsets };

    void start_entry() {
        place_ = Place::entry;
        name_ = key_;
        entry_ = {};
        fields_.clear();
        offsets_.clear();
    }

    void end_entry() {
        for (const char* field : {"dtype", "shape", "data_offsets"})
            if (!fields_.contains(field))
                refuse_file(path_, "tensor " + in_quotes(name_) + " has no " + field +
                                       ", expected dtype, shape and data_offsets");
        entry_.begin = offsets_[0];
        entry_.end = offsets_[1];
        header_.tensors[name_] = std::move(entry_);
    }

    [[noreturn]] void unexpected(const std::string& given) const {
        const auto [what, expected] = awaited();
        refuse_file(path_, what + " is " + printable(given) + ", expected " + expected);
    }

    /// What the next value belongs to, and what it has to be.
    std::pair<std::string, std::string> awaited() const {
        if (place_ == Place::metadata) return {"metadata " + in_quotes(key_), "a string"};
        if (place_ == Place::top && key_ == metadata_key) return {metadata_key, "an object of strings"};
        if (place_ == Place::top) return {"tensor " + in_quotes(key_), "an object"};
        const std::string field = key_ + " of tensor " + in_quotes(name_);
        if (key_ == "dtype") return {field, "a string"};
        const std::string numbers = "whole numbers, none negative or 2^63 and more";
        if (place_ == Place::entry) return {field, "an array of " + numbers};
        if (key_ == "shape") return {"an extent in the " + field, numbers};
        return {"an entry or the length in the " + field, "two " + numbers};
    }

    std::filesystem::path path_;
    SafetensorsHeader header_;
    Place place_ = Place::outside;
    std::string key_;   // the last one read, whose value comes next
    std::string name_;  // of the tensor whose entry is being read
    SafetensorsEntry entry_;
    std::vector<std::uint64_t> offsets_;
    std::set<std::string> names_;
    std::set<std::string> metadata_names_;
    std::set<std::string> fields_;
};

/// The header that the text says. Throws FileError if it is not JSON or not a header; check_layout looks at
/// the numbers.
inline SafetensorsHeader parse_safetensors_header(const std::filesystem::path& path,
                                                  const std::string& text) {
    if (text.empty() || text[0] != '{')
        refuse_file(path, "the header begins with " + in_quotes(text.substr(0, 1)) + ", expected \"{\"");
    // The JSON parser would take a zero byte for the end of the text, and leave the rest unread.
    if (const std::size_t zero = text.find('\0'); zero != std::string::npos)
        refuse_file(path,
                    "the header has a zero byte at " + std::to_string(zero) + ", expected JSON in UTF-8");
    SafetensorsHeaderReader reader(path);
    nlohmann::json::sax_parse(text, &reader);
    return reader.take();
}

/// The text as a JSON string with its quotes. Throws FileError if it is not UTF-8.
inline std::string json_string(const std::filesystem::path& path, const std::string& text) {
    try {
        return nlohmann::json(text).dump();
    } catch (const nlohmann::json::exception&) {
        refuse_file(path, "the name or metadata " + in_quotes(text) + " cannot be written, expected UTF-8");
    }
}

/// The header of a file with these tensors, padded so that the data begins at a multiple of 8. Throws
/// FileError.
inline std::string safetensors_header_text(
    const std::filesystem::path& path, const std::vector<std::pair<std::string, SafetensorsEntry>>& tensors,
    const Metadata& metadata) {
    const auto append = [](std::string& list, const std::string& item) {
        list += (list.empty() ? "" : ",") + item;
    };
    const auto bracketed = [&](const auto& numbers) {
        std::string list;
        for (const auto number : numbers) append(list, std::to_string(number));
        return "[" + list + "]";
    };
    std::string notes;
    for (const auto& [key, value] : metadata)
        append(notes, json_string(path, key) + ":" + json_string(path, value));
    std::string members;
    if (!metadata.empty()) append(members, json_string(path, metadata_key) + ":{" + notes + "}");
    for (const auto& [name, entry] : tensors)
        append(members, json_string(path, name) + ":{\"dtype\":" + json_string(path, entry.dtype) +
                            ",\"shape\":" + bracketed(entry.shape) +
                            ",\"data_offsets\":" + bracketed(std::array{entry.begin, entry.end}) + "}");
    std::string text = "{" + members + "}";
    text.append((8 - text.size() % 8) % 8, ' ');
    if (text.size() > longest_header)
        refuse_file(path, "the header would take " + std::to_string(text.size()) +
                              " bytes, expected at most " + std::to_string(longest_header));
    return text;
}

}  // namespace ring_attention::inline RING_ATTENTION_ABI::detail
