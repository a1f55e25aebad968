#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <iterator>
#include <map>
#include <set>
#include <stdexcept>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "model_oracle.hpp"

namespace golden {

/// A safetensors file that the original wrote, read without the library. It remembers which tensors were
/// asked for.
class File {
  public:
    explicit File(const std::string& name) : name_(name) {
        std::ifstream stream(std::string(RING_ATTENTION_GOLDEN_DIR) + "/" + name + ".safetensors",
                             std::ios::binary);
        const std::vector<char> bytes(std::istreambuf_iterator<char>(stream), {});
        if (bytes.size() < 8)
            throw std::runtime_error("no golden file " + name + " in " RING_ATTENTION_GOLDEN_DIR);
        std::uint64_t header_size = 0;
        std::memcpy(&header_size, bytes.data(), 8);
        const auto data = bytes.begin() + 8 + std::ptrdiff_t(header_size);
        header_ = nlohmann::json::parse(bytes.begin() + 8, data);
        metadata_ = header_.at("__metadata__");
        header_.erase("__metadata__");
        data_.assign(data, bytes.end());
    }

    const std::string& name() const { return name_; }
    std::string metadata(const std::string& key) const { return metadata_.at(key).get<std::string>(); }
    nlohmann::json options() const { return nlohmann::json::parse(metadata("options")); }

    bool has(const std::string& tensor) const { return header_.contains(tensor); }
    std::string dtype(const std::string& tensor) const {
        return header_.at(tensor).at("dtype").get<std::string>();
    }

    std::vector<std::size_t> shape(const std::string& tensor) const {
        return header_.at(tensor).at("shape").get<std::vector<std::size_t>>();
    }

    /// The names that begin with the prefix, without it.
    std::vector<std::string> names(const std::string& prefix = "") const {
        std::vector<std::string> found;
        for (const auto& [name, entry] : header_.items())
            if (name.starts_with(prefix)) found.push_back(name.substr(prefix.size()));
        return found;
    }

    /// The numbers of a tensor, whatever type they are stored as.
    template <class R>
    std::vector<R> values(const std::string& tensor) {
        const std::string type = dtype(tensor);
        used_.insert(tensor);
        if (type == "F32") return stored_as<float, R>(tensor);
        if (type == "F64") return stored_as<double, R>(tensor);
        if (type == "U8") return stored_as<std::uint8_t, R>(tensor);
        throw std::runtime_error(name_ + ": " + tensor + " is " + type);
    }

    /// A tensor that no check needs.
    void ignore(const std::string& tensor) { used_.insert(tensor); }

    /// What nobody asked for: a check that was forgotten.
    std::vector<std::string> unused() const {
        std::vector<std::string> found;
        for (const std::string& name : names())
            if (!used_.contains(name)) found.push_back(name);
        return found;
    }

  private:
    template <class Stored, class R>
    std::vector<R> stored_as(const std::string& tensor) const {
        const auto offsets = header_.at(tensor).at("data_offsets").get<std::vector<std::size_t>>();
        std::vector<Stored> stored((offsets.at(1) - offsets.at(0)) / sizeof(Stored));
        std::memcpy(stored.data(), data_.data() + offsets.at(0), stored.size() * sizeof(Stored));
        return std::vector<R>(stored.begin(), stored.end());
    }

    std::string name_;
    nlohmann::json header_, metadata_;
    std::vector<char> data_;
    std::set<std::string> used_;
};

/// A parameter is what has a gradient of its own name.
template <class R>
oracle::Parameters<R> parameters(File& file) {
    oracle::Parameters<R> parameters;
    for (const std::string& name : file.names("grad."))
        if (name != "input") parameters[name] = file.values<R>(name);
    return parameters;
}

inline oracle::Masks masks(File& file) {
    oracle::Masks masks;
    for (const std::string& name : file.names("mask.")) {
        masks["mask." + name] = file.values<std::uint8_t>("mask." + name);
        file.ignore(name + ".key");  // the key of the original's generator, from which the mask was drawn
    }
    return masks;
}

inline oracle::AttentionShape attention_shape(const File& file) {
    const auto shape = file.shape("q");
    return {shape.at(0), shape.at(1), shape.at(2), shape.at(3)};
}

inline oracle::ModelShape model_shape(const File& file) {
    const nlohmann::json options = file.options();
    const auto size = [&](const char* key) { return options.at(key).get<std::size_t>(); };
    oracle::ModelShape shape;
    shape.batch = std::stoul(file.metadata("batch"));
    shape.seq_len = std::stoul(file.metadata("runtime_seq_len"));
    shape.embed_dim = size("embed_dim");
    shape.hidden_size = size("hidden_size");
    shape.num_heads = size("num_heads");
    shape.num_layers = size("num_layers");
    shape.dropout = options.at("dropout").get<double>();
    return shape;
}

}  // namespace golden
