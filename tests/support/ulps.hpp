#pragma once

#include <algorithm>
#include <cmath>
#include <limits>

#include "infinity.hpp"
#include "sanitized.hpp"

namespace support {

/// The distance in units of the last place of the exact value; a subnormal one has the spacing of subnormals.
template <class T>
double ulps(T value, long double exact) {
    if (T(exact) == value) return 0;
    int exponent = 0;
    std::frexp(exact, &exponent);
    const int digits = std::numeric_limits<T>::digits, lowest = std::numeric_limits<T>::min_exponent;
    return double(std::abs(value - exact) / std::ldexp(1.0L, std::max(exponent, lowest) - digits));
}

template <class T>
double worst_ulps(T from, T to, auto&& value, auto&& exact) {
    double worst = 0;
    const int steps = int(num_cases(300'000));
    for (int i = 0; i <= steps; ++i) {
        const T x = from + (to - from) * T(i) / T(steps);
        worst = std::max(worst, ulps<T>(value(x), exact(static_cast<long double>(x))));
    }
    return worst;
}

template <class T>
constexpr T not_a_number = std::numeric_limits<T>::quiet_NaN();

}  // namespace support
