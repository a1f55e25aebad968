#pragma once

#include <cmath>
#include <limits>

#include <ring_attention/core/types.hpp>

RING_ATTENTION_PRECISE_BEGIN
namespace ring_attention::inline RING_ATTENTION_ABI {

/// A sum of doubles that does not depend on their order: they are taken as multiples of 2^-60, whose sum is
/// not rounded. For up to 2^30 numbers below 2^32 in magnitude; those beyond that count as infinite.
class ExactSum {
  public:
    void add(double number) {
        if (!(std::abs(number) < 0x1p32)) {
            positive_infinite_ |= !(number < 0);  // a NaN is as both
            negative_infinite_ |= !(number > 0);
            return;
        }
        const double scaled = number * 0x1p20, whole = std::floor(scaled);
        add_words(Index(whole), Index((scaled - whole) * 0x1p40));
    }

    void add(const ExactSum& other) {
        add_words(other.high_, other.low_);
        positive_infinite_ |= other.positive_infinite_;
        negative_infinite_ |= other.negative_infinite_;
    }

    double value() const {
        constexpr double infinity = std::numeric_limits<double>::infinity();
        if (positive_infinite_ && negative_infinite_) return std::numeric_limits<double>::quiet_NaN();
        if (positive_infinite_) return infinity;
        if (negative_infinite_) return -infinity;
        return double(high_) * 0x1p-20 + double(low_) * 0x1p-60;
    }

  private:
    void add_words(Index high, Index low) {
        low_ += low;
        high_ += high + (low_ >> 40);
        low_ &= (Index(1) << 40) - 1;
    }

    Index high_ = 0;  // multiples of 2^-20
    Index low_ = 0;   // of 2^-60, less than 2^-20 in all
    bool positive_infinite_ = false, negative_infinite_ = false;
};

}  // namespace ring_attention::inline RING_ATTENTION_ABI
RING_ATTENTION_PRECISE_END
