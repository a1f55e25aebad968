#pragma once

#include <limits>

namespace support {

template <class T>
constexpr T infinity = std::numeric_limits<T>::infinity();

}  // namespace support
