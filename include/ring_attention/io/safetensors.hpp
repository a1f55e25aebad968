#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <ring_attention/core/error.hpp>
#include <ring_attention/core/types.hpp>
#include <ring_attention/io/atomic_file.hpp>
#include <ring_attention/io/dtype.hpp>
#include <ring_attention/io/file_message.hpp>
#include <ring_attention/io/posix_file.hpp>
#include <ring_attention/io/safetensors_header.hpp>
#include <ring_attention/io/safetensors_json.hpp>

// The safetensors format (https://github.com/huggingface/safetensors): the length of the header in 8 bytes,
// the header in JSON, then the tensors, row-major, with no gap.

namespace ring_attention::inline RING_ATTENTION_ABI {

static_assert(std::endian::native == std::endian::little,
              "tensor files are little-endian, and so must the host be");

/// A safetensors file, open for reading. The constructor reads the header and checks all of it against the
/// format and the size of the file; the numbers are read when they are asked for. Every function throws
/// FileError.
class SafetensorsFile {
  public:
    explicit SafetensorsFile(std::filesystem::path path)
        : path_(std::move(path)), file_(detail::open_for_reading(path_)) {
        using detail::refuse_file;
        if (file_.size < sizeof(std::uint64_t))
            refuse_file(path_, "has " + std::to_string(file_.size) +
                                   " bytes, expected at least 8 for a header length");
        std::uint64_t header_size = 0;
        detail::read_at(file_.descriptor, path_, 0, std::as_writable_bytes(std::span(&header_size, 1)));
        const std::uint64_t most = std::min(file_.size - sizeof(header_size), detail::longest_header);
        if (header_size > most)
            refuse_file(path_, "declares a header of " + std::to_string(header_size) +
                                   " bytes, expected at most " + std::to_string(most) + " in a file of " +
                                   std::to_string(file_.size));
        std::string text(header_size, '\0');
        detail::read_at(file_.descriptor, path_, sizeof(header_size),
                        std::as_writable_bytes(std::span(text)));
        header_ = detail::parse_safetensors_header(path_, text);
        data_begin_ = sizeof(header_size) + header_size;
        detail::check_layout(path_, header_, file_.size - data_begin_);
    }

    /// In alphabetical order.
    std::vector<std::string> names() const {
        std::vector<std::string> all;
        for (const auto& named : header_.tensors) all.push_back(named.first);
        return all;
    }

    bool contains(std::string_view name) const { return header_.tensors.find(name) != header_.tensors.end(); }

    const Metadata& metadata() const { return header_.metadata; }

    const std::filesystem::path& path() const { return path_; }

    /// The dtype ("F32"), shape (row-major, [] for a single number) and place of a tensor.
    const SafetensorsEntry& entry(std::string_view name) const {
        const auto found = header_.tensors.find(name);
        if (found == header_.tensors.end())
            detail::refuse_file(path_, "has no tensor " + detail::in_quotes(name) +
                                           ", expected one among its " +
                                           std::to_string(header_.tensors.size()));
        return found->second;
    }

    const std::vector<Index>& shape(std::string_view name) const { return entry(name).shape; }

    /// Throws unless the tensor is there with this dtype and shape.
    void require(std::string_view name, std::string_view dtype, const std::vector<Index>& shape) const {
        require_dtype(name, dtype);
        require_shape(name, shape);
    }

    void require_shape(std::string_view name, const std::vector<Index>& shape) const {
        if (entry(name).shape != shape)
            detail::refuse_file(path_, "tensor " + detail::in_quotes(name) + " has shape " +
                                           detail::printable(shape_text(entry(name).shape)) + ", expected " +
                                           shape_text(shape));
    }

    /// The numbers of a tensor, row-major. Throws unless they are stored as T: nothing is converted.
    template <Storable T>
    std::vector<T> read(std::string_view name) const {
        require_dtype(name, dtype_of<T>());
        std::vector<T> values((entry(name).end - entry(name).begin) / sizeof(T));
        read_bytes(name, 0, std::as_writable_bytes(std::span(values)));
        return values;
    }

    /// The numbers of a tensor as they are stored, whatever they are.
    std::vector<std::byte> read_bytes(std::string_view name) const {
        std::vector<std::byte> bytes(entry(name).end - entry(name).begin);
        read_bytes(name, 0, bytes);
        return bytes;
    }

    /// Some of them: fills `bytes` from the tensor's byte `first` on.
    void read_bytes(std::string_view name, std::uint64_t first, std::span<std::byte> bytes) const {
        const std::uint64_t size = entry(name).end - entry(name).begin;
        if (first > size || bytes.size() > size - first)
            detail::refuse_file(path_, "tensor " + detail::in_quotes(name) + " has " + std::to_string(size) +
                                           " bytes, expected " + std::to_string(bytes.size()) +
                                           " from byte " + std::to_string(first) + " on");
        detail::read_at(file_.descriptor, path_, data_begin_ + entry(name).begin + first, bytes);
    }

  private:
    void require_dtype(std::string_view name, std::string_view dtype) const {
        if (entry(name).dtype != dtype)
            detail::refuse_file(path_, "tensor " + detail::in_quotes(name) + " has dtype " +
                                           detail::printable(entry(name).dtype) + ", expected " +
                                           std::string(dtype));
    }

    std::filesystem::path path_;
    detail::OpenedFile file_;
    detail::SafetensorsHeader header_;
    std::uint64_t data_begin_ = 0;
};

/// A tensor to be written: the bytes stay where they are, and must stay until they are written.
struct NamedTensor {
    std::string name;
    std::string dtype;
    std::vector<Index> shape;
    std::span<const std::byte> bytes;
};

/// A tensor to be written; `values` is row-major and as large as the shape says. Throws ShapeError if the
/// shape is none.
template <Storable T>
NamedTensor named_tensor(std::string name, std::vector<Index> shape, const T* values) {
    const auto size = detail::byte_count(shape, sizeof(T));
    if (!size)
        throw ShapeError("tensor \"" + name + "\" has shape " + shape_text(shape) +
                         ", expected no negative extent");
    return {std::move(name),
            std::string(dtype_of<T>()),
            std::move(shape),
            {reinterpret_cast<const std::byte*>(values), std::size_t(*size)}};
}

namespace detail {

/// A tensor to be written whose bytes come into being one piece after the other: `write` writes `size` of
/// them.
struct TensorSource {
    std::string name;
    std::string dtype;
    std::vector<Index> shape;
    std::uint64_t size;
    std::function<void(AtomicFile&)> write;
};

/// Writes them to `file`, which is to be committed. `path` is its name in messages.
inline void write_safetensors(const std::filesystem::path& path, AtomicFile& file,
                              std::vector<TensorSource> tensors, const Metadata& metadata) {
    for (const TensorSource& tensor : tensors)
        if (find_dtype(tensor.dtype) == nullptr)
            refuse_file(path, "tensor " + in_quotes(tensor.name) + " has the unknown dtype " +
                                  in_quotes(tensor.dtype) +
                                  ", expected F32, F64 or another of the safetensors format");
    std::sort(tensors.begin(), tensors.end(), [](const TensorSource& a, const TensorSource& b) {
        const auto* const left = find_dtype(a.dtype);
        const auto* const right = find_dtype(b.dtype);
        return left != right ? std::greater<>()(left, right) : a.name < b.name;
    });
    std::vector<std::pair<std::string, SafetensorsEntry>> entries;
    SafetensorsHeader header;
    std::uint64_t position = 0;
    for (const TensorSource& tensor : tensors) {
        const SafetensorsEntry entry{tensor.dtype, tensor.shape, position, position + tensor.size};
        if (tensor.name == metadata_key || !header.tensors.emplace(tensor.name, entry).second)
            refuse_file(path, "two tensors would be named " + in_quotes(tensor.name) +
                                  ", expected each name once and none " + metadata_key);
        entries.emplace_back(tensor.name, entry);
        position = entry.end;
    }
    check_layout(path, header, position);
    const std::string text = safetensors_header_text(path, entries, metadata);
    const std::uint64_t header_size = text.size();

    file.write(std::as_bytes(std::span(&header_size, 1)));
    file.write(std::as_bytes(std::span(text)));
    for (const TensorSource& tensor : tensors) tensor.write(file);
}

}  // namespace detail

/// Writes a file that holds the tensors, in the order of the reference implementation whatever theirs is, so
/// that equal content gives equal bytes. The path has the whole new file afterwards or, with a FileError,
/// what it had before.
inline void write_safetensors(const std::filesystem::path& path, const std::vector<NamedTensor>& tensors,
                              const Metadata& metadata = {}) {
    std::vector<detail::TensorSource> sources;
    for (const NamedTensor& tensor : tensors)
        sources.push_back({tensor.name, tensor.dtype, tensor.shape, tensor.bytes.size(),
                           [bytes = tensor.bytes](detail::AtomicFile& file) { file.write(bytes); }});
    detail::AtomicFile file(path);
    detail::write_safetensors(path, file, std::move(sources), metadata);
    file.commit();
}

}  // namespace ring_attention::inline RING_ATTENTION_ABI
