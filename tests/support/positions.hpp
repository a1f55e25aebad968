#pragma once

#include <cmath>
#include <cstddef>
#include <cstring>
#include <limits>
#include <vector>

#include <doctest/doctest.h>

#include <ring_attention/core/types.hpp>

namespace support {

/// To the bit, but for those of a NaN.
template <class T>
bool same_or_nan(T a, T b) {
    return (std::isnan(a) && std::isnan(b)) || std::memcmp(&a, &b, sizeof(T)) == 0;
}

/// apply(x, y, n) on arrays of every small length, from every address: the same number must give the same
/// bits as alone.
template <class T>
void check_positions(auto&& apply) {
    std::vector<T> x, alone(91);
    for (int i = 0; i <= 90; ++i) x.push_back(T(-9) + T(i) / 5);
    x[7] = std::numeric_limits<T>::quiet_NaN();
    for (std::size_t i = 0; i < x.size(); ++i) apply(&x[i], &alone[i], 1);
    for (ring_attention::Index first = 0; first < 20; ++first)
        for (ring_attention::Index n = 0; first + n <= ring_attention::Index(x.size()); ++n) {
            std::vector<T> y(x.size() + 1, T(77));
            apply(x.data() + first, y.data() + 1, n);
            for (ring_attention::Index i = 0; i < n; ++i)
                REQUIRE(same_or_nan(y[std::size_t(i + 1)], alone[std::size_t(first + i)]));
            REQUIRE(y[0] == 77);
            if (n < ring_attention::Index(x.size())) REQUIRE(y[std::size_t(n + 1)] == 77);
        }
}

}  // namespace support
