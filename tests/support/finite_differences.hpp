#pragma once

#include <algorithm>
#include <cstddef>
#include <type_traits>
#include <vector>

#include "compare.hpp"
#include "sanitized.hpp"

namespace support {

/// The derivative of f() by each of the `size` numbers at `x`, which f reads: central differences of fourth
/// order, (8 (f(x + h) - f(x - h)) - (f(x + 2h) - f(x - 2h))) / 12h.
template <class T, class F>
std::vector<T> finite_differences(T* x, std::size_t size, T h, const F& f) {
    std::vector<T> gradient;
    for (std::size_t i = 0; i < size; ++i) {
        const T middle = x[i];
        const auto at = [&](T value) {
            x[i] = value;
            return f();
        };
        const T near = at(middle + h) - at(middle - h), far = at(middle + 2 * h) - at(middle - 2 * h);
        x[i] = middle;
        gradient.push_back((8 * near - far) / (12 * h));
    }
    return gradient;
}

/// The largest difference of `gradient` from the finite differences of f by `x`, in units of the largest of
/// them, or of 1 where all are smaller: some gradients (of a bias that all scores share) are 0. x and
/// gradient are vectors, matrices or tensors. For a sanitizer it is enough that both are computed.
template <class X, class Gradient, class F>
double gradient_error(X& x, const Gradient& gradient, const F& f) {
    using T = std::remove_reference_t<decltype(x.data()[0])>;
    const std::size_t size = std::size_t(x.size());
    const std::vector<T> expected =
        finite_differences(x.data(), sanitized ? std::min<std::size_t>(size, 20) : size, T(2e-4), f);
    std::vector<T> given(gradient.data(), gradient.data() + gradient.size());
    if (sanitized) given.resize(expected.size());
    return compare::largest_difference(given, expected) / std::max(1.0, compare::largest(expected));
}

/// sum(a b), the loss whose gradient by a is b.
template <class A, class B>
auto inner_product(const A& a, const B& b) {
    std::remove_cvref_t<decltype(a.data()[0] * b.data()[0])> sum = 0;
    for (std::size_t i = 0; i < std::size_t(a.size()); ++i) sum += a.data()[i] * b.data()[i];
    return sum;
}

}  // namespace support
