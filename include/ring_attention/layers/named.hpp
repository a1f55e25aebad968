#pragma once

#include <cstdint>
#include <initializer_list>
#include <string_view>

#include <ring_attention/core/fixed_string.hpp>
#include <ring_attention/layers/layer.hpp>

namespace ring_attention::inline RING_ATTENTION_ABI {

/// A part of a Sequential or a Residual with a name of its own: Sequential<Named<"encoder", A>, Named<"head",
/// B>>. Its parameters are called "encoder.kernel", "head.kernel".
///
/// A name that is empty or ends in '_' is no more than what the names of the part's own parts begin with.
/// Such a part counts as if its parts stood in its place, for random numbers too.
template <FixedString name, class L>
struct Named;

namespace detail {

/// What stands in a list of layers: a layer, or one with a name.
template <class Part>
struct PartOf {
    using Layer = Part;
    static constexpr bool is_named = false;
    static constexpr std::string_view name = "";
};

template <FixedString word, class L>
struct PartOf<Named<word, L>> {
    using Layer = L;
    static constexpr bool is_named = true;
    static constexpr std::string_view name = word.view();
};

/// Whether in inference what a layer gives for a token depends on that token's row alone, so that rows can be
/// left out. A TokenLayer is so, any other may promise it.
template <class L>
constexpr bool each_token_alone() {
    if constexpr (TokenLayer<L>)
        return true;
    else if constexpr (requires { L::each_token_alone; })
        return L::each_token_alone;
    else
        return false;
}

/// Where a layer draws random numbers: a bit for each DropoutSite at which it does so under the number that
/// the pass has (Pass::layer), and one for all that is drawn under numbers of its parts (Pass::at_part). A
/// layer that does not say counts as one that draws none.
template <class L>
constexpr std::uint64_t draws() {
    if constexpr (requires { L::draws; })
        return L::draws;
    else
        return 0;
}

inline constexpr std::uint64_t draws_below = std::uint64_t(1) << 63;

/// Whether no two draw at the same place.
constexpr bool draw_apart(std::initializer_list<std::uint64_t> draws) {
    std::uint64_t all = 0;
    for (const std::uint64_t one : draws) {
        if (all & one) return false;
        all |= one;
    }
    return true;
}

/// Whether a part of a Sequential has a number of its own: unless its name is a prefix.
template <class Part>
constexpr bool is_numbered() {
    return !PartOf<Part>::is_named || !is_prefix(PartOf<Part>::name);
}

}  // namespace detail

}  // namespace ring_attention::inline RING_ATTENTION_ABI
