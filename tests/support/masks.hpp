#pragma once

#include <algorithm>
#include <cstdlib>
#include <string>
#include <utility>
#include <vector>

#include <ring_attention/attention/mask.hpp>

// Who sees whom, one query and key at a time, from what the rules say: what the library finds by intervals.

namespace support {

namespace ra = ring_attention;
using ra::Index;

inline bool sees(const ra::Mask& mask, Index batch, Index query, Index key) {
    const auto document = [&](Index position) {
        return std::count_if(mask.document_starts.begin(), mask.document_starts.end(),
                             [&](Index start) { return start > 0 && start <= position; });
    };
    if (key < 0 || key >= mask.key_len) return false;
    if (!mask.lengths.empty() && key >= mask.lengths[std::size_t(batch)]) return false;
    if (document(query) != document(key)) return false;
    const bool near = mask.window == 0 || std::abs(query - key) < mask.window;
    return key < mask.prefix || ((!mask.causal || key <= query) && near);
}

using NamedMask = std::pair<std::string, ra::Mask>;

/// Masks of every rule alone, on both sides and causal, and of rules together, for two batch entries.
inline std::vector<NamedMask> every_mask(Index key_len) {
    std::vector<NamedMask> masks;
    ra::List<Index> starts{0};
    for (const Index start : {key_len / 5, key_len / 3, key_len / 3 + 1, key_len - 1})
        if (start > starts.back()) starts.push_back(start);
    const ra::List<Index> longer{key_len / 2, 3 * key_len / 4}, empty{0, 0}, one{1, 0};
    for (const bool causal : {true, false}) {
        const auto add = [&](const std::string& name, Index window, Index prefix,
                             const ra::List<Index>& documents, const ra::List<Index>& lengths) {
            masks.emplace_back(name + (causal ? ", causal" : ""),
                               ra::Mask{key_len, causal, window, prefix, documents, lengths});
        };
        add("all keys", 0, 0, {}, {});
        for (const Index window : {Index(1), Index(2), Index(5), key_len / 2 + 1, 2 * key_len})
            add("window " + std::to_string(window), window, 0, {}, {});
        for (const Index prefix : {Index(1), key_len / 3 + 1, key_len, 2 * key_len})
            add("prefix " + std::to_string(prefix), 0, prefix, {}, {});
        add("documents", 0, 0, starts, {});
        add("documents, window 3", 3, 0, starts, {});
        add("documents, prefix", 0, key_len / 4, starts, {});
        for (const auto& lengths : {longer, empty, one}) {
            add("lengths", 0, 0, {}, lengths);
            add("lengths, documents", 0, 0, starts, lengths);
            add("lengths, window 4", 4, 0, {}, lengths);
            add("lengths, prefix", 0, key_len / 3 + 1, {}, lengths);
        }
    }
    return masks;
}

}  // namespace support
