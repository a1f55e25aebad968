#pragma once

#include <limits>
#include <type_traits>

#include <ring_attention/attention/heads.hpp>
#include <ring_attention/attention/log_sum_exp.hpp>
#include <ring_attention/core/types.hpp>
#include <ring_attention/kernels/exp2.hpp>

RING_ATTENTION_PRECISE_BEGIN
namespace ring_attention::inline RING_ATTENTION_ABI::detail {

// Attention to a part of the keys, which can be joined with that to other parts (Milakov, Gimelshein 2018,
// 1805.02867, section 3.1):
//   maximum = max(score),  sum = sum 2^(score - maximum),  output = sum 2^(score - maximum) value
// of scores in base 2. A query that has seen nothing has maximum -infinity, sum 0 and output 0.

/// What some queries, a row each, have from some keys, as it lies in one piece of memory: output (M, Dv),
/// then maximum (M), then sum (M). T may be const.
template <class T>
struct PartialAttention {
    T* numbers = nullptr;
    Index rows = 0;
    Index value_width = 0;

    /// How many numbers that are.
    static Index size(Index rows, Index value_width) { return rows * (value_width + 2); }

    T* output(Index row) const { return numbers + row * value_width; }
    T& maximum(Index row) const { return numbers[rows * value_width + row]; }
    T& sum(Index row) const { return numbers[rows * (value_width + 1) + row]; }

    /// Nothing is seen yet.
    void set_empty() const requires(!std::is_const_v<T>) {
        for (Index i = 0; i < rows * value_width; ++i) numbers[i] = T(0);
        for (Index row = 0; row < rows; ++row)
            maximum(row) = -std::numeric_limits<T>::infinity(), sum(row) = T(0);
    }

    /// Before any keys: a score more in the softmax of the row, without a value.
    void set_sink(Index row, T sink) const {
        if (sink == -std::numeric_limits<T>::infinity()) return;
        maximum(row) = base2_scale(sink);
        sum(row) = T(1);
    }

    /// The same for all rows, those of the key-value head number `batch_head`, as GroupRows has them. sinks:
    /// one a query head, or none.
    void set_sinks(const T* sinks, Index batch_head, const HeadShape& shape) const {
        for (Index row = 0; sinks && row < rows; ++row)
            set_sink(row, sinks[(batch_head * shape.group() + row % shape.group()) % shape.heads]);
    }

    /// After all keys: the mean of the values, (Dv), and the logarithm of the scores' sum. A query that has
    /// seen nothing gets 0 and -infinity. log_sum_exp_rest: what backward needs beside it, or null.
    void finish(Index row, std::remove_const_t<T>* mean, std::remove_const_t<T>& log_sum,
                std::remove_const_t<T>* log_sum_exp_rest = nullptr) const {
        const T divisor = divisor_of_sum(std::remove_const_t<T>(sum(row)));
        for (Index i = 0; i < value_width; ++i) mean[i] = output(row)[i] / divisor;
        log_sum = log_sum_exp(maximum(row), sum(row));
        if (log_sum_exp_rest) *log_sum_exp_rest = detail::log_sum_exp_rest(log_sum, maximum(row), sum(row));
    }

    operator PartialAttention<const T>() const requires(!std::is_const_v<T>) {
        return {numbers, rows, value_width};
    }
};

/// to (n) = to a + from b.
template <Real T>
void add_scaled(T* to, T a, const T* from, T b, Index n) {
    constexpr Index width = Simd<T>::width;
    Index i = 0;
    for (; i + width <= n; i += width)
        fma(Simd<T>::load(from + i), Simd<T>(b), Simd<T>::load(to + i) * Simd<T>(a)).store(to + i);
    if (i == n) return;
    const Simd<T> sum =
        fma(load_partial(from + i, n - i), Simd<T>(b), load_partial(to + i, n - i) * Simd<T>(a));
    store_partial(sum, to + i, n - i);
}

/// `sum` becomes that of its own keys and those of `part`, of the same queries. The bits depend on the order
/// in which parts are merged; a query that one of the two knows nothing of keeps what the other has, but for
/// the sign of a zero. A NaN of either stays one.
template <Real T>
void merge(const PartialAttention<T>& sum, const PartialAttention<const std::type_identity_t<T>>& part) {
    constexpr T nothing = -std::numeric_limits<T>::infinity();
    const auto power = [](T x) { return exp2_weight(Simd<T>(x)).lanes[0]; };
    for (Index row = 0; row < sum.rows; ++row) {
        T &maximum = sum.maximum(row), &total = sum.sum(row);
        const T before = maximum, other = part.maximum(row);
        if (other > maximum) maximum = other;
        // -infinity - 0 gives the factor 0, -infinity - -infinity NaN.
        const T shift = maximum > nothing ? maximum : T(0);
        const T own_factor = power(before - shift), part_factor = power(other - shift);
        add_scaled(sum.output(row), own_factor, part.output(row), part_factor, sum.value_width);
        add_scaled(&total, own_factor, &part.sum(row), part_factor, 1);
    }
}

}  // namespace ring_attention::inline RING_ATTENTION_ABI::detail
RING_ATTENTION_PRECISE_END
