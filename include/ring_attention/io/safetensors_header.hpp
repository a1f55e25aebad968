#pragma once

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <limits>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include <ring_attention/core/error.hpp>
#include <ring_attention/core/types.hpp>
#include <ring_attention/io/dtype.hpp>
#include <ring_attention/io/file_message.hpp>

namespace ring_attention::inline RING_ATTENTION_ABI {

/// Text that is stored beside the tensors: options, a step count, a note.
using Metadata = std::map<std::string, std::string>;

/// One tensor of a file: what it is and where its bytes lie, counted from the end of the header.
struct SafetensorsEntry {
    std::string dtype;
    std::vector<Index> shape;
    std::uint64_t begin = 0;
    std::uint64_t end = 0;
};

namespace detail {

struct SafetensorsHeader {
    std::map<std::string, SafetensorsEntry, std::less<>> tensors;
    Metadata metadata;
};

// The reference implementation refuses more.
inline constexpr std::uint64_t longest_header = 100'000'000;

inline constexpr const char* metadata_key = "__metadata__";

/// Nothing if the shape has a negative extent or its bytes cannot be counted.
inline std::optional<std::uint64_t> byte_count(const std::vector<Index>& shape, std::size_t element_size) {
    constexpr std::uint64_t most = std::numeric_limits<Index>::max();
    std::uint64_t count = element_size;
    for (const Index extent : shape) {
        if (extent < 0) return std::nullopt;
        if (extent > 0 && count > most / std::uint64_t(extent)) return std::nullopt;
        count *= std::uint64_t(extent);
    }
    return count;
}

/// The same for numbers that may be smaller than a byte. Nothing, too, where they end within one.
inline std::optional<std::uint64_t> byte_count(const std::vector<Index>& shape, const Dtype& dtype) {
    if (dtype.bits % 8 == 0) return byte_count(shape, dtype.bits / 8);
    const std::optional<std::uint64_t> count = byte_count(shape, std::size_t(1));
    if (!count || *count % 8 * dtype.bits % 8 != 0) return std::nullopt;
    return *count / 8 * dtype.bits + *count % 8 * dtype.bits / 8;
}

/// Throws FileError unless the entry lies within data_size bytes and is as long as its dtype and shape say.
/// How long a tensor of an unknown dtype is to be, nobody knows: it is as long as it is.
inline void check_entry(const std::filesystem::path& path, const std::string& name,
                        const SafetensorsEntry& entry, std::uint64_t data_size) {
    const std::string tensor = "tensor " + in_quotes(name);
    const std::string offsets = "[" + std::to_string(entry.begin) + ", " + std::to_string(entry.end) + "]";
    if (entry.begin > entry.end || entry.end > data_size)
        refuse_file(path, tensor + " has data_offsets " + offsets +
                              ", expected an ascending pair within the " + std::to_string(data_size) +
                              " bytes of data in the file");
    const Dtype* dtype = find_dtype(entry.dtype);
    if (dtype == nullptr) return;
    const std::optional<std::uint64_t> expected = byte_count(entry.shape, *dtype);
    if (!expected)
        refuse_file(path, tensor + " has shape " + printable(shape_text(entry.shape)) + " of " + entry.dtype +
                              ", expected one whose bytes can be counted in 63 bits");
    if (entry.end - entry.begin != *expected)
        refuse_file(path, tensor + " has data_offsets " + offsets + ", expected " +
                              std::to_string(*expected) + " bytes for shape " +
                              printable(shape_text(entry.shape)) + " of " + entry.dtype);
}

/// Throws FileError unless the tensors cover the data of the file, all of it and no byte twice.
inline void check_layout(const std::filesystem::path& path, const SafetensorsHeader& header,
                         std::uint64_t data_size) {
    using Named = const std::pair<const std::string, SafetensorsEntry>*;
    std::vector<Named> in_order;
    for (const auto& named : header.tensors) {
        check_entry(path, named.first, named.second, data_size);
        in_order.push_back(&named);
    }
    // An empty tensor may share its place with the next one, and comes first.
    std::sort(in_order.begin(), in_order.end(), [](Named a, Named b) {
        return std::pair(a->second.begin, a->second.end) < std::pair(b->second.begin, b->second.end);
    });
    std::uint64_t covered = 0;
    for (const Named named : in_order) {
        if (named->second.begin != covered)
            refuse_file(path, "tensor " + in_quotes(named->first) + " begins at byte " +
                                  std::to_string(named->second.begin) + " of the data, expected byte " +
                                  std::to_string(covered) + ", where the tensor before it ends");
        covered = named->second.end;
    }
    if (covered != data_size)
        refuse_file(path, "the file has " + std::to_string(data_size) + " bytes of data, expected the " +
                              std::to_string(covered) + " that its tensors take");
}

}  // namespace detail

}  // namespace ring_attention::inline RING_ATTENTION_ABI
