#pragma once

#include <string_view>

#include <ring_attention/core/parameters.hpp>

#include "compare.hpp"

namespace support {

/// Whether two models of one type have the same numbers, to the bit.
bool same_parameters(const auto& a, const auto& b) {
    bool same = true;
    ring_attention::for_each_parameter_in_step(
        [&](std::string_view, const auto& x, const auto& y) { same = same && compare::same_bits(x, y); }, a,
        b);
    return same;
}

}  // namespace support
