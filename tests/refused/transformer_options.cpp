#include <limits>

#include <ring_attention/models/build.hpp>

namespace ra = ring_attention;

#ifndef CHANGE
#define CHANGE num_heads = 4
#endif

constexpr ra::TransformerOptions options = [] {
    ra::TransformerOptions changed{.vocabulary = 12, .hidden_size = 8, .num_heads = 2, .num_layers = 1};
    changed.CHANGE;
    return changed;
}();

auto model = ra::build<options>();
