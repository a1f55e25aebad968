#pragma once

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <span>
#include <string>
#include <vector>

#include <ring_attention/ring_attention.hpp>

namespace ring_lm {

namespace ra = ring_attention;

using Bytes = std::vector<std::uint8_t>;
using Text = std::span<const std::uint8_t>;

/// Throws ra::FileError where there is no such file, or nothing in it.
inline Bytes read_text(const std::filesystem::path& path) {
    if (std::filesystem::is_directory(path))
        throw ra::FileError(path.string() + " is a folder, expected a text file");
    std::ifstream file(path, std::ios::binary);
    if (!file) throw ra::FileError("cannot open " + path.string());
    Bytes bytes{std::istreambuf_iterator<char>(file), {}};
    if (file.bad()) throw ra::FileError("cannot read " + path.string());
    if (bytes.empty()) throw ra::FileError(path.string() + " is empty");
    return bytes;
}

/// Tokens and what follows each: [batch, length].
struct Batch {
    ra::Tensor<ra::Token, 2> tokens, targets;
};

/// The batch of windows of `length` bytes that begin at these places, each followed by one byte more at
/// least.
inline Batch windows_at(Text text, const std::vector<std::size_t>& starts, ra::Index length) {
    const auto count = ra::Index(starts.size());
    Batch batch{ra::Tensor<ra::Token, 2>(count, length), ra::Tensor<ra::Token, 2>(count, length)};
    for (ra::Index b = 0; b < count; ++b)
        for (ra::Index t = 0; t < length; ++t) {
            const std::size_t at = starts[std::size_t(b)] + std::size_t(t);
            batch.tokens(b, t) = text[at];
            batch.targets(b, t) = text[at + 1];
        }
    return batch;
}

/// Windows at random places, a function of seed and step.
inline Batch random_windows(Text text, ra::Index batch, ra::Index length, std::uint64_t seed,
                            std::int64_t step) {
    const ra::CounterRandom random(seed, ra::RandomPurpose::sampling);
    std::vector<std::size_t> starts;
    for (ra::Index b = 0; b < batch; ++b) {
        const double place = random.uniform(std::uint64_t(step), std::uint64_t(b));
        starts.push_back(std::size_t(place * double(text.size() - std::size_t(length))));
    }
    return windows_at(text, starts, length);
}

}  // namespace ring_lm
