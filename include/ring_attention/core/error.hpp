#pragma once

#include <algorithm>
#include <cstddef>
#include <stdexcept>
#include <string>

namespace ring_attention {

/// Everything that this library throws, but for std::bad_alloc. The message says what was given and what was
/// expected, and whatever was to be changed is as it was before the call. What ends a pass half-way, a
/// std::bad_alloc or the RingError of a ring that broke, leaves the weights as they were, and in a gradient
/// or a cache that was being filled anything: the gradient is to be zeroed, the cache filled again.
class Error : public std::runtime_error {
  public:
    using std::runtime_error::runtime_error;
};

/// A tensor, chunk count or length that does not fit.
class ShapeError : public Error {
  public:
    using Error::Error;
};

/// A file that cannot be read or written, or whose content is not what was expected.
class FileError : public Error {
  public:
    using Error::Error;
};

/// The ranks of a ring disagree, or one of them is gone.
class RingError : public Error {
  public:
    using Error::Error;
};

/// "[2, 60, 288]"
template <class Extents>
std::string shape_text(const Extents& extents) {
    std::string text = "[";
    for (const auto extent : extents) text += (text.size() > 1 ? ", " : "") + std::to_string(extent);
    return text + "]";
}

/// Throws unless the tensor has the shape that was expected.
template <class Given, class Expected>
void require_shape(const char* what, const Given& given, const Expected& expected) {
    if (!std::equal(given.begin(), given.end(), expected.begin(), expected.end()))
        throw ShapeError(std::string(what) + " has shape " + shape_text(given) + ", expected " +
                         shape_text(expected));
}

/// Throws where the product of the extents overflows: Eigen makes such a tensor, and gives it no memory.
template <class Extents>
void require_countable(const char* what, const Extents& extents) {
    if (std::find(extents.begin(), extents.end(), 0) != extents.end()) return;
    std::ptrdiff_t product = 1;
    for (const auto extent : extents)
        if (extent < 0 || __builtin_mul_overflow(product, std::ptrdiff_t(extent), &product))
            throw ShapeError(std::string(what) + " has shape " + shape_text(extents) +
                             ", expected one whose numbers can be counted");
}

}  // namespace ring_attention
