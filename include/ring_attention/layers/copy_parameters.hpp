#pragma once

#include <algorithm>
#include <cstddef>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include <ring_attention/core/error.hpp>
#include <ring_attention/core/parameters.hpp>
#include <ring_attention/kernels/bfloat16.hpp>

namespace ring_attention::inline RING_ATTENTION_ABI {

namespace detail {

template <Visitable Model>
std::vector<std::pair<std::string, std::vector<Index>>> shapes_of_parameters(const Model& model) {
    std::vector<std::pair<std::string, std::vector<Index>>> shapes;
    for_each_parameter(model, [&](std::string_view name, const auto& parameter) {
        shapes.push_back({std::string(name), {parameter.rows(), parameter.cols()}});
    });
    return shapes;
}

template <class From, class To>
void convert_numbers(const From* from, Index count, To* to) {
    if constexpr (std::is_same_v<To, Bfloat16> && !std::is_same_v<From, Bfloat16>)
        round_numbers(from, count, to);
    else if constexpr (std::is_same_v<From, Bfloat16> && !std::is_same_v<To, Bfloat16>)
        widen_numbers(from, count, to);
    else
        for (Index i = 0; i < count; ++i) to[i] = To(from[i]);
}

}  // namespace detail

/// Gives every parameter of `to` the numbers of `from`, a model of the same parameters that may keep them as
/// another type: float, double, or weights as bfloat16. What the new type cannot hold is rounded to the
/// nearest. Throws ShapeError where names or shapes differ; then nothing has changed.
template <Visitable From, Visitable To>
void copy_parameters(const From& from, To& to) {
    const auto given = detail::shapes_of_parameters(from), expected = detail::shapes_of_parameters(to);
    for (std::size_t i = 0; i < std::max(given.size(), expected.size()); ++i) {
        const std::string none = "nothing";
        const std::string name_given = i < given.size() ? given[i].first : none,
                          name_expected = i < expected.size() ? expected[i].first : none;
        if (name_given != name_expected)
            throw ShapeError("copy_parameters: given " + name_given + ", expected " + name_expected);
        require_shape(("copy_parameters: " + name_given).c_str(), given[i].second, expected[i].second);
    }
    detail::walk_parameters(
        "",
        [](std::string_view, auto& target, const auto& source) {
            detail::convert_numbers(source.data(), Index(target.size()), target.data());
        },
        to, from);
}

}  // namespace ring_attention::inline RING_ATTENTION_ABI
