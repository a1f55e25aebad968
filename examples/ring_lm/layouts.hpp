#pragma once

#include <map>
#include <string>

#include <ring_attention/sequence/layout.hpp>

namespace ring_lm {

namespace ra = ring_attention;

/// As they are named on the command line.
inline const std::map<std::string, ra::Layout> layouts = [] {
    std::map<std::string, ra::Layout> by_name;
    for (const ra::Layout layout : {ra::Layout::contiguous, ra::Layout::zigzag, ra::Layout::striped})
        by_name[ra::name_of(layout)] = layout;
    return by_name;
}();

}  // namespace ring_lm
