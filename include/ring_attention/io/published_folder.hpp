#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include <ring_attention/io/file_message.hpp>
#include <ring_attention/io/json_file.hpp>
#include <ring_attention/io/safetensors.hpp>

namespace ring_attention::inline RING_ATTENTION_ABI::detail {

inline constexpr const char* config_name = "config.json";
inline constexpr const char* weights_name = "model.safetensors";
inline constexpr const char* weights_index_name = "model.safetensors.index.json";

/// Throws FileError unless there is such a folder.
inline void require_published_folder(const std::filesystem::path& folder) {
    std::error_code ignored;
    if (!std::filesystem::is_directory(folder, ignored))
        refuse_file(folder,
                    "is no folder, expected one with " + std::string(config_name) + " and " + weights_name);
}

/// The tensors of a folder in the published format: those of model.safetensors or, where that is not there,
/// those of the shards that model.safetensors.index.json names. The constructor opens and checks all files;
/// the numbers are read when they are asked for. Every function throws FileError.
class PublishedFolder {
  public:
    explicit PublishedFolder(const std::filesystem::path& folder) : folder_(folder) {
        require_published_folder(folder);
        std::error_code ignored;
        if (std::filesystem::exists(folder / weights_name, ignored))
            open(weights_name);
        else if (std::filesystem::exists(folder / weights_index_name, ignored))
            open_shards();
        else
            refuse_file(folder, "has neither " + std::string(weights_name) + " nor " + weights_index_name +
                                    ", expected one of them");
    }

    const std::filesystem::path& path() const { return folder_; }

    /// By their names, each with the file that holds it.
    const std::map<std::string, const SafetensorsFile*>& tensors() const { return tensors_; }

  private:
    void open_shards() {
        const std::filesystem::path index = folder_ / weights_index_name;
        const nlohmann::json content = read_json_object(index);
        const auto weight_map = content.find("weight_map");
        if (weight_map == content.end() || !weight_map->is_object())
            refuse_file(index, weight_map == content.end()
                                   ? "has no weight_map, expected an object of file names"
                                   : "the weight_map is " + printable(weight_map->dump()) +
                                         ", expected an object of file names");
        std::map<std::string, const SafetensorsFile*> shards;
        for (const auto& [name, value] : weight_map->items())
            if (const std::string file = shard_name(index, name, value); !shards.contains(file))
                shards[file] = &open(file);
        for (const auto& [name, value] : weight_map->items()) {
            const auto& file = value.get_ref<const std::string&>();
            if (!shards.at(file)->contains(name))
                refuse_file(index, "says that tensor " + in_quotes(name) + " is in " + in_quotes(file) +
                                       ", which has no such tensor");
        }
    }

    /// A link to a file elsewhere is fine, since whoever made the folder made it; a name that leads there is
    /// not.
    std::string shard_name(const std::filesystem::path& index, const std::string& tensor,
                           const nlohmann::json& value) const {
        const std::string given = "says that tensor " + in_quotes(tensor) + " is in ";
        if (!value.is_string())
            refuse_file(index, given + printable(value.dump()) + ", expected a file name");
        const auto& file = value.get_ref<const std::string&>();
        const std::filesystem::path path(file);
        bool inside = path.is_relative() && path.has_filename();
        for (const std::filesystem::path& part : path)
            if (part == ".." || part == ".") inside = false;
        if (!inside) refuse_file(index, given + in_quotes(file) + ", expected a file within the folder");
        std::error_code ignored;
        if (!std::filesystem::exists(folder_ / path, ignored))
            refuse_file(index, given + in_quotes(file) + ", which is not there");
        return file;
    }

    const SafetensorsFile& open(const std::string& file) {
        files_.push_back(std::make_unique<SafetensorsFile>(folder_ / file));
        const SafetensorsFile& opened = *files_.back();
        for (const std::string& name : opened.names())
            if (const auto [at, is_new] = tensors_.emplace(name, &opened); !is_new)
                refuse_file(opened.path(), "has a tensor " + in_quotes(name) + ", which " +
                                               at->second->path().string() +
                                               " has too, expected each name once");
        return opened;
    }

    std::filesystem::path folder_;
    std::vector<std::unique_ptr<SafetensorsFile>> files_;
    std::map<std::string, const SafetensorsFile*> tensors_;
};

}  // namespace ring_attention::inline RING_ATTENTION_ABI::detail
