#pragma once

#include <cmath>
#include <string_view>

#include <ring_attention/core/error.hpp>
#include <ring_attention/core/parameters.hpp>

RING_ATTENTION_PRECISE_BEGIN
namespace ring_attention::inline RING_ATTENTION_ABI {

/// The Euclidean norm of all parameters (or of a gradient), summed in double.
template <Visitable Model>
double global_norm(const Model& gradient) {
    double sum_of_squares = 0;
    for_each_parameter(gradient, [&](std::string_view, const auto& tensor) {
        for (Index i = 0; i < tensor.size(); ++i)
            sum_of_squares += double(tensor.data()[i]) * double(tensor.data()[i]);
    });
    return std::sqrt(sum_of_squares);
}

/// Scales the gradient to at most this norm (Pascanu, Mikolov, Bengio 2013, 1211.5063) and returns the norm
/// that it had. A norm that is not finite leaves the gradient as it is: the caller sees it.
template <Visitable Model>
double clip_by_global_norm(Model& gradient, double max_norm) {
    if (!(max_norm > 0))
        throw Error("clip_by_global_norm: max_norm is " + std::to_string(max_norm) + ", expected above 0");
    const double norm = global_norm(gradient);
    if (norm > max_norm && std::isfinite(norm))
        for_each_parameter(gradient, [&](std::string_view, auto& tensor) {
            using T = typename std::remove_cvref_t<decltype(tensor)>::Scalar;
            tensor *= T(max_norm / norm);
        });
    return norm;
}

}  // namespace ring_attention::inline RING_ATTENTION_ABI
RING_ATTENTION_PRECISE_END
