#pragma once

#include <cmath>
#include <filesystem>
#include <limits>
#include <string>
#include <string_view>

#include <nlohmann/json.hpp>

#include <ring_attention/io/file_message.hpp>

namespace ring_attention::inline RING_ATTENTION_ABI::detail {

/// An object of a config.json, asked by the names of its settings. Every function throws FileError where a
/// setting is not what it has to be.
class ConfigObject {
  public:
    ConfigObject(const std::filesystem::path& path, const nlohmann::json& object)
        : path_(path), object_(object) {}

    const std::filesystem::path& path() const { return path_; }

    bool is_null(std::string_view key) const {
        const auto* value = find(key);
        return value != nullptr && value->is_null();
    }

    /// Neither missing nor null.
    bool has(std::string_view key) const {
        const auto* value = find(key);
        return value != nullptr && !value->is_null();
    }

    /// Null where it is missing.
    const nlohmann::json* find(std::string_view key) const {
        const auto found = object_.find(std::string(key));
        return found == object_.end() ? nullptr : &*found;
    }

    int whole(std::string_view key, int if_missing, int least = 1,
              int most = std::numeric_limits<int>::max()) const {
        const auto* value = find(key);
        if (value == nullptr) return if_missing;
        if (value->is_number_integer() && *value >= least && *value <= most) return value->get<int>();
        refuse(key, "a whole number of at least " + std::to_string(least) +
                        (most < std::numeric_limits<int>::max() ? ", at most " + std::to_string(most) : ""));
    }

    double positive(std::string_view key, double if_missing) const {
        const auto* value = find(key);
        if (value == nullptr) return if_missing;
        if (value->is_number())
            // As the float that it will be: neither rounded to 0 nor beyond all.
            if (const double number = value->get<double>(); float(number) > 0 && std::isfinite(float(number)))
                return number;
        refuse(key, "a number above 0");
    }

    bool flag(std::string_view key, bool if_missing) const {
        const auto* value = find(key);
        if (value == nullptr) return if_missing;
        if (value->is_boolean()) return value->get<bool>();
        refuse(key, "true or false");
    }

    std::string text(std::string_view key, const std::string& if_missing) const {
        const auto* value = find(key);
        if (value == nullptr) return if_missing;
        if (value->is_string()) return value->get<std::string>();
        refuse(key, "a string");
    }

    /// "config.json: hidden_size is "24", expected a whole number of at least 1"
    [[noreturn]] void refuse(std::string_view key, const std::string& expected) const {
        const auto* value = find(key);
        refuse_file(path_, std::string(key) + " is " +
                               (value == nullptr ? "missing" : printable(value->dump())) + ", expected " +
                               expected);
    }

  private:
    std::filesystem::path path_;
    const nlohmann::json& object_;
};

}  // namespace ring_attention::inline RING_ATTENTION_ABI::detail
