#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <variant>
#include <vector>

#include <ring_attention/core/types.hpp>
#include <ring_attention/io/stored_floats.hpp>
#include <ring_attention/io/weight_map.hpp>

namespace ring_attention::inline RING_ATTENTION_ABI::detail {

/// to[i][j] = from[j][i] for i < rows, j < columns; the strides are those of a row. Tile by tile, so that the
/// lines of memory of both are used whole.
template <class T>
void copy_turned(const T* from, Index from_stride, T* to, Index to_stride, Index rows, Index columns) {
    constexpr Index tile = 16;
    for (Index row = 0; row < rows; row += tile)
        for (Index column = 0; column < columns; column += tile)
            for (Index i = row; i < std::min(rows, row + tile); ++i)
                for (Index j = column; j < std::min(columns, column + tile); ++j)
                    to[i * to_stride + j] = from[j * from_stride + i];
}

/// Calls f(first, count) for the published rows of a turned part, as many at once as fill a piece: what is
/// turned is never larger than one tensor, and mostly much smaller.
template <class Number, class T>
void for_each_turned_piece(const PublishedPart<T>& part, auto&& f) {
    constexpr Index piece_bytes = 1 << 20, fewest = 16;  // so that a line of memory is filled at once
    const Index row_bytes = std::max<Index>(1, part.rows * Index(sizeof(Number)));
    const Index most = std::max(fewest, piece_bytes / row_bytes);
    for (Index first = 0; first < part.columns; first += most) f(first, std::min(most, part.columns - first));
}

template <class T, class Number>
void read_part_into(const SafetensorsFile& file, std::string_view name, const PublishedPart<T>& part,
                    Number* numbers) {
    const auto read = [&](Index first, Number* to, Index count) {
        read_floats(file, name, std::uint64_t(first), std::span(to, std::size_t(count)));
    };
    if (!part.turned) {
        if (part.columns == part.all_columns) return read(0, numbers, part.rows * part.columns);
        for (Index row = 0; row < part.rows; ++row)
            read(row * part.columns, numbers + row * part.all_columns, part.columns);
        return;
    }
    std::vector<Number> piece;
    for_each_turned_piece<Number>(part, [&](Index first, Index count) {
        piece.resize(std::size_t(count * part.rows));
        read(first * part.rows, piece.data(), count * part.rows);
        copy_turned(piece.data(), part.rows, numbers + first, part.all_columns, part.rows, count);
    });
}

/// Fills the numbers of the model from the tensor of the file.
template <class T>
void read_part(const SafetensorsFile& file, std::string_view name, const PublishedPart<T>& part) {
    std::visit([&](auto* numbers) { read_part_into(file, name, part, numbers); }, part.numbers);
}

template <class T, class Number>
void for_each_span_of(const PublishedPart<T>& part, const Number* numbers, auto&& f) {
    const auto pass = [&](const Number* from, Index count) { f(std::span(from, std::size_t(count))); };
    if (!part.turned) {
        if (part.columns == part.all_columns) return pass(numbers, part.rows * part.columns);
        for (Index row = 0; row < part.rows; ++row) pass(numbers + row * part.all_columns, part.columns);
        return;
    }
    std::vector<Number> piece;
    for_each_turned_piece<Number>(part, [&](Index first, Index count) {
        piece.resize(std::size_t(count * part.rows));
        copy_turned(numbers + first, part.all_columns, piece.data(), part.rows, count, part.rows);
        pass(piece.data(), count * part.rows);
    });
}

/// Calls f(numbers) for the numbers of the tensor that is published, one span after the other, of the type in
/// which the model keeps them.
template <class T>
void for_each_published_span(const PublishedPart<const T>& part, auto&& f) {
    std::visit([&](const auto* numbers) { for_each_span_of(part, numbers, f); }, part.numbers);
}

template <class T>
std::size_t size_of_number(const PublishedPart<const T>& part) {
    return std::visit([](const auto* number) { return sizeof(*number); }, part.numbers);
}

/// As what it is written.
template <class T>
std::string_view dtype_of_part(const PublishedPart<const T>& part) {
    return std::visit([]<class Number>(const Number*) { return dtype_of<Number>(); }, part.numbers);
}

}  // namespace ring_attention::inline RING_ATTENTION_ABI::detail
