#pragma once

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <ring_attention/ring_attention.hpp>

namespace pretrained {

namespace ra = ring_attention;

/// Throws ra::FileError unless the shape of a tensor in a file is this.
inline void require_shape(const ra::SafetensorsFile& file, const std::string& name,
                          const std::vector<ra::Index>& expected) {
    if (file.shape(name) != expected)
        throw ra::FileError(fmt::format("{}: {} has shape {}, expected {}", file.path().string(), name,
                                        file.shape(name), expected));
}

/// The whole numbers of a tensor [rows, columns], or [columns], which is one row. Throws ra::FileError unless
/// they are stored as I64, there is at least one, and all are from 0 to `most`.
inline ra::Tensor<ra::Token, 2> read_tokens(const ra::SafetensorsFile& file, const std::string& name,
                                            std::int64_t most) {
    const std::vector<std::int64_t> numbers = file.read<std::int64_t>(name);
    const std::vector<ra::Index>& shape = file.shape(name);
    if (shape.empty() || shape.size() > 2 || numbers.empty())
        throw ra::FileError(fmt::format("{}: {} has shape {}, expected [batch, seq] with at least one token",
                                        file.path().string(), name, shape));
    ra::Tensor<ra::Token, 2> tokens(shape.size() == 2 ? shape[0] : 1, shape.back());
    for (std::size_t i = 0; i < numbers.size(); ++i) {
        if (numbers[i] < 0 || numbers[i] > most)
            throw ra::FileError(fmt::format(
                "{}: {} has {} at [{}, {}], expected 0 to {}", file.path().string(), name, numbers[i],
                ra::Index(i) / tokens.dimension(1), ra::Index(i) % tokens.dimension(1), most));
        tokens.data()[i] = ra::Token(numbers[i]);
    }
    return tokens;
}

/// How many tokens of each row are true, from ones and, behind them, zeros. Throws ra::FileError where a one
/// stands behind a zero.
inline std::vector<ra::Index> read_lengths(const ra::SafetensorsFile& file, const std::string& name) {
    const ra::Tensor<ra::Token, 2> mask = read_tokens(file, name, 1);
    std::vector<ra::Index> lengths;
    for (ra::Index row = 0; row < mask.dimension(0); ++row) {
        const ra::Token* const begin = mask.data() + row * mask.dimension(1);
        const ra::Token* const end = begin + mask.dimension(1);
        const ra::Token* const padding = std::find(begin, end, 0);
        if (const ra::Token* const one = std::find(padding, end, 1); one != end)
            throw ra::FileError(
                fmt::format("{}: {} has a 1 behind a 0 at [{}, {}], expected padding behind "
                            "the tokens and nowhere else",
                            file.path().string(), name, row, one - begin));
        lengths.push_back(padding - begin);
    }
    return lengths;
}

}  // namespace pretrained
