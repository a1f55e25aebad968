#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include <ring_attention/io/families.hpp>
#include <ring_attention/io/file_message.hpp>
#include <ring_attention/io/published_folder.hpp>
#include <ring_attention/io/stored_floats.hpp>
#include <ring_attention/io/weight_map.hpp>

namespace ring_attention::inline RING_ATTENTION_ABI::detail {

/// A tensor of a folder: its file, and its name there.
struct StoredTensor {
    const SafetensorsFile* file = nullptr;
    std::string name;
};

/// The tensors of a folder by the names that they would have in a folder of today, without the family's
/// prefix. Throws FileError where two would have the same.
class StoredWeights {
  public:
    StoredWeights(const PublishedFolder& folder, const FamilyTable& table)
        : folder_(folder.path()), table_(table) {
        for (const auto& [name, file] : folder.tensors()) {
            if (name.starts_with(table.prefix)) prefix_ = table.prefix;
            const auto [at, is_new] = tensors_.emplace(name_of_today(name), StoredTensor{file, name});
            if (!is_new)
                refuse_file(file->path(), "has a tensor " + in_quotes(name) + ", which is the same as " +
                                              in_quotes(at->second.name) + ", expected one of them");
        }
    }

    /// The tensor of each part. Throws FileError unless all are there with their shapes and a dtype that is
    /// read, and every other is one that nobody needs.
    template <class T>
    std::vector<StoredTensor> require(const std::vector<PublishedPart<T>>& parts, bool tied_head) const {
        std::map<std::string, StoredTensor> rest = tensors_;
        std::vector<StoredTensor> found;
        std::vector<std::string> missing;
        for (const PublishedPart<T>& part : parts)
            if (const auto at = rest.find(part.name); at != rest.end()) {
                found.push_back(at->second);
                rest.erase(at);
            } else {
                missing.push_back((part.name == head_name ? "" : prefix_) + part.name);
            }
        std::vector<std::string> unexpected;
        for (const auto& [name, tensor] : rest)
            if (!is_ignored(name) && !(tied_head && name == head_name)) unexpected.push_back(tensor.name);
        refuse_names(missing, unexpected);

        for (std::size_t i = 0; i < parts.size(); ++i) require_floats(found[i], parts[i].shape());
        if (const auto head = rest.find(std::string(head_name)); tied_head && head != rest.end())
            for (std::size_t i = 0; i < parts.size(); ++i)
                if (parts[i].name == table_.names[0].published)
                    require_equal(head->second, found[i], parts[i].shape());
        return found;
    }

  private:
    std::string name_of_today(std::string_view name) const {
        if (name.starts_with(table_.prefix)) name.remove_prefix(table_.prefix.size());
        for (const OldName& old : old_names)
            if (name.ends_with(old.old_end))
                return std::string(name.substr(0, name.size() - old.old_end.size())) + std::string(old.end);
        return std::string(name);
    }

    bool is_ignored(std::string_view name) const {
        return std::any_of(table_.ignored.begin(), table_.ignored.end(), [&](const IgnoredNames& ignored) {
            return name.starts_with(ignored.begin) && name.ends_with(ignored.end);
        });
    }

    void refuse_names(const std::vector<std::string>& missing,
                      const std::vector<std::string>& unexpected) const {
        std::string sentence;
        if (!missing.empty())
            sentence = "has no tensor " + list_in_quotes(missing) + ", which the model expects";
        if (!unexpected.empty())
            sentence += (missing.empty() ? "" : ", and ") + std::string("has a tensor ") +
                        list_in_quotes(unexpected) + ", which the model does not expect";
        if (!sentence.empty()) refuse_file(folder_, sentence);
    }

    static void require_floats(const StoredTensor& tensor, const std::vector<Index>& shape) {
        const std::string& dtype = tensor.file->entry(tensor.name).dtype;
        if (!is_stored_float(dtype))
            refuse_file(tensor.file->path(), "tensor " + in_quotes(tensor.name) + " has dtype " +
                                                 printable(dtype) + ", expected F32, F16, BF16 or F64");
        tensor.file->require_shape(tensor.name, shape);
    }

    /// A head that is published beside the table that it is tied to says the same, or it is not tied.
    static void require_equal(const StoredTensor& head, const StoredTensor& table,
                              const std::vector<Index>& shape) {
        require_floats(head, shape);
        std::array<double, 4096> of_head{}, of_table{};
        const std::uint64_t size = std::uint64_t(shape[0]) * std::uint64_t(shape[1]);
        for (std::uint64_t first = 0; first < size; first += of_head.size()) {
            const std::size_t count = std::size_t(std::min<std::uint64_t>(of_head.size(), size - first));
            read_floats(*head.file, head.name, first, std::span(of_head).first(count));
            read_floats(*table.file, table.name, first, std::span(of_table).first(count));
            for (std::size_t i = 0; i < count; ++i)
                if (std::bit_cast<std::uint64_t>(of_head[i]) != std::bit_cast<std::uint64_t>(of_table[i]))
                    refuse_file(head.file->path(),
                                "tensor " + in_quotes(head.name) + " differs from " + in_quotes(table.name) +
                                    ", expected the same, since config.json says tie_word_embeddings");
        }
    }

    std::filesystem::path folder_;
    const FamilyTable& table_;
    std::string prefix_;  // that the folder's names have
    std::map<std::string, StoredTensor> tensors_;
};

}  // namespace ring_attention::inline RING_ATTENTION_ABI::detail
