#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include <ring_attention/core/types.hpp>
#include <ring_attention/io/stored_floats.hpp>
#include <ring_attention/io/weight_map.hpp>

namespace ring_attention::inline RING_ATTENTION_ABI::detail {

/// Calls f(first, count) for the published rows of a turned part, as many at once as fill a piece: what is
/// turned is never larger than one tensor, and mostly much smaller.
template <class T>
void for_each_turned_piece(const PublishedPart<T>& part, auto&& f) {
    constexpr Index piece_bytes = 1 << 20, fewest = 16;  // so that a line of memory is filled at once
    const Index row_bytes = std::max<Index>(1, part.rows * Index(sizeof(T)));
    const Index most = std::max(fewest, piece_bytes / row_bytes);
    for (Index first = 0; first < part.columns; first += most) f(first, std::min(most, part.columns - first));
}

/// Fills the numbers of the model from the tensor of the file.
template <class T>
void read_part(const SafetensorsFile& file, std::string_view name, const PublishedPart<T>& part) {
    const auto read = [&](Index first, T* to, Index count) {
        read_floats(file, name, std::uint64_t(first), std::span(to, std::size_t(count)));
    };
    if (!part.turned) {
        if (part.columns == part.all_columns) return read(0, part.numbers, part.rows * part.columns);
        for (Index row = 0; row < part.rows; ++row)
            read(row * part.columns, part.numbers + row * part.all_columns, part.columns);
        return;
    }
    std::vector<T> piece;
    for_each_turned_piece(part, [&](Index first, Index count) {
        piece.resize(std::size_t(count * part.rows));
        read(first * part.rows, piece.data(), count * part.rows);
        for (Index row = 0; row < part.rows; ++row)
            for (Index i = 0; i < count; ++i)
                part.numbers[row * part.all_columns + first + i] = piece[std::size_t(i * part.rows + row)];
    });
}

/// Calls f(numbers) for the numbers of the tensor that is published, one span after the other.
template <class T>
void for_each_published_span(const PublishedPart<const T>& part, auto&& f) {
    const auto pass = [&](const T* from, Index count) { f(std::span(from, std::size_t(count))); };
    if (!part.turned) {
        if (part.columns == part.all_columns) return pass(part.numbers, part.rows * part.columns);
        for (Index row = 0; row < part.rows; ++row) pass(part.numbers + row * part.all_columns, part.columns);
        return;
    }
    std::vector<T> piece;
    for_each_turned_piece(part, [&](Index first, Index count) {
        piece.resize(std::size_t(count * part.rows));
        for (Index row = 0; row < part.rows; ++row)
            for (Index i = 0; i < count; ++i)
                piece[std::size_t(i * part.rows + row)] = part.numbers[row * part.all_columns + first + i];
        pass(piece.data(), count * part.rows);
    });
}

}  // namespace ring_attention::inline RING_ATTENTION_ABI::detail
