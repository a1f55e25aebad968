#pragma once

#include <cmath>
#include <cstdint>

namespace ring_attention::detail {

/// A sum that is the same in whatever order its numbers come: each is taken as a whole number of 2^-64, and
/// whole numbers are added exactly. Numbers from 2^40 on, infinity and NaN are added apart, as they come.
class ExactSum {
  public:
    void add(double x) {
        if (!(std::abs(x) < 0x1p40)) {
            beyond_ += x;
            return;
        }
        const double whole = std::floor(std::abs(x));
        const auto fraction = std::uint64_t(std::ldexp(std::abs(x) - whole, 64));
        if (x < 0) {
            whole_ -= std::int64_t(whole) + (fraction_ < fraction ? 1 : 0);
            fraction_ -= fraction;
        } else {
            fraction_ += fraction;
            whole_ += std::int64_t(whole) + (fraction_ < fraction ? 1 : 0);
        }
    }

    double value() const { return double(whole_) + std::ldexp(double(fraction_), -64) + beyond_; }

  private:
    std::int64_t whole_ = 0;
    std::uint64_t fraction_ = 0;
    double beyond_ = 0;
};

}  // namespace ring_attention::detail
