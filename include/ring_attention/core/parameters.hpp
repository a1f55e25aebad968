#pragma once

#include <concepts>
#include <string>
#include <string_view>
#include <type_traits>

#include <ring_attention/core/types.hpp>

namespace ring_attention::inline RING_ATTENTION_ABI {

// A layer lists its parts once,
//
//     static void visit(auto&& f, auto&... self) { f("kernel", self.kernel...); f("bias", self.bias...); }
//
// where a part is a parameter (a Matrix or a RowVector) or a layer again. Given several layers of one type (a
// model, its gradient, its moments), the visitor walks them in step.
//
// The parameters of a part are called "part.kernel", or with the separator that the part's type has
// (part_separator). A name that is empty or ends in '_' is only what its parameters' names begin with: "ffn_"
// gives "ffn_up.kernel", and "" "kernel".

namespace detail {

struct AnyVisitor {
    void operator()(std::string_view, auto&...) const {}
};

template <class Layer>
constexpr std::string_view part_separator() {
    if constexpr (requires { Layer::part_separator; })
        return Layer::part_separator;
    else
        return ".";
}

/// Whether the name of a part is only what the names of its own parts begin with.
constexpr bool is_prefix(std::string_view name) {
    return name.empty() || name.back() == '_';
}

}  // namespace detail

/// A struct that lists its parts.
template <class L>
concept Visitable = requires(L& layer) {
    std::remove_const_t<L>::visit(detail::AnyVisitor{}, layer);
};

/// Calls f(part_name, parts...) for the layers and the parameters that the layers consist of, one level down.
template <Visitable First, class... Rest>
void for_each_part(auto&& f, First& first, Rest&... rest) {
    std::remove_const_t<First>::visit(f, first, rest...);
}

namespace detail {

template <class First, class... Rest>
void walk_parameters(std::string_view prefix, auto&& f, First& first, Rest&... rest) {
    for_each_part(
        [&](std::string_view part_name, auto& part, auto&... same_part) {
            std::string name = std::string(prefix).append(part_name);
            using Part = std::remove_cvref_t<decltype(part)>;
            if constexpr (Visitable<Part>) {
                if (!is_prefix(part_name)) name.append(part_separator<Part>());
                walk_parameters(name, f, part, same_part...);
            } else
                f(std::string_view(name), part, same_part...);
        },
        first, rest...);
}

}  // namespace detail

/// Calls f(name, tensor) for every parameter, in the order in which the layers list them. Names are those of
/// a weight file: "ring_1_qkv.kernel". A tensor is contiguous and row-major (tensor.data(), tensor.size(); a
/// Dense kernel is [in, out]); a const model gives const tensors.
template <Visitable Model>
void for_each_parameter(Model& model, auto&& f) {
    detail::walk_parameters("", f, model);
}

/// The same for several models of one type in step: f(name, tensor of the first, tensor of the second, ...).
template <Visitable First, class... Rest>
requires(std::same_as<std::remove_const_t<First>,
                      std::remove_const_t<Rest>>&&...) void for_each_parameter_in_step(auto&& f, First& first,
                                                                                       Rest&... rest) {
    detail::walk_parameters("", f, first, rest...);
}

/// The number of numbers in all parameters.
template <Visitable Model>
Index parameter_count(const Model& model) {
    Index count = 0;
    for_each_parameter(model, [&](std::string_view, const auto& tensor) { count += Index(tensor.size()); });
    return count;
}

/// A model of the same type and shapes, all zero: the start of a gradient.
template <Visitable Model>
Model zeros_like(const Model& model) {
    Model zeros = model;
    for_each_parameter(zeros, [](std::string_view, auto& tensor) {
        static_assert(std::is_arithmetic_v<std::remove_cvref_t<decltype(*tensor.data())>>,
                      "zeros_like: weights kept as bfloat16 are for inference and have no gradient");
        tensor.setZero();
    });
    return zeros;
}

}  // namespace ring_attention::inline RING_ATTENTION_ABI
