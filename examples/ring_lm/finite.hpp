#pragma once

#include <algorithm>
#include <cmath>
#include <string>
#include <string_view>

#include <ring_attention/core/error.hpp>
#include <ring_attention/core/parameters.hpp>

namespace ring_lm {

/// Throws ring_attention::Error unless every number of the model is finite.
inline void require_finite(const auto& model, const std::string& whose) {
    ring_attention::for_each_parameter(model, [&](std::string_view name, const auto& tensor) {
        if (!std::all_of(tensor.data(), tensor.data() + tensor.size(),
                         [](auto x) { return std::isfinite(x); }))
            throw ring_attention::Error(whose + ": " + std::string(name) +
                                        " has a number that is not finite");
    });
}

}  // namespace ring_lm
