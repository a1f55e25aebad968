#pragma once

// One head as the attention kernels take it: rows of queries, keys and values at places of a sequence. And
// what plain arithmetic in long double makes of them.

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstring>
#include <limits>
#include <vector>

#include <ring_attention/attention/mask.hpp>
#include <ring_attention/kernels/matrix_view.hpp>

#include "inputs.hpp"

namespace support {

namespace ra = ring_attention;

/// Rows of numbers that lie `stride` apart, with NaN between them and nothing behind the last, so that a
/// memory checker sees who goes too far.
template <class T>
struct Rows {
    ra::Index rows, cols, stride;
    std::vector<T> numbers;

    Rows(ra::Index rows_, ra::Index cols_, ra::Index gap = 0)
        : rows(rows_),
          cols(cols_),
          stride(cols_ + gap),
          numbers(std::size_t(std::max<ra::Index>(0, (rows - 1) * stride + cols)),
                  std::numeric_limits<T>::quiet_NaN()) {}

    T& operator()(ra::Index row, ra::Index col) { return numbers[std::size_t(row * stride + col)]; }
    T operator()(ra::Index row, ra::Index col) const { return numbers[std::size_t(row * stride + col)]; }

    ra::MatrixView<T> view() { return {numbers.data(), rows, cols, stride, 1}; }
    ra::MatrixView<const T> view() const { return {numbers.data(), rows, cols, stride, 1}; }

    /// What lies between the rows is still NaN.
    bool kept_the_gaps() const {
        for (ra::Index i = 0; i + 1 < rows; ++i)
            for (ra::Index j = cols; j < stride; ++j)
                if (!std::isnan((*this)(i, j))) return false;
        return true;
    }
};

template <class T>
Rows<T> normal_rows(ra::Index rows, ra::Index cols, ra::Index gap, std::uint64_t seed, double deviation = 1) {
    Rows<T> result(rows, cols, gap);
    inputs::Numbers numbers(seed);
    for (ra::Index i = 0; i < rows; ++i)
        for (ra::Index j = 0; j < cols; ++j) result(i, j) = T(deviation * numbers.normal());
    return result;
}

template <class T>
bool same_row(const Rows<T>& a, const Rows<T>& b, ra::Index row) {
    return std::memcmp(a.numbers.data() + row * a.stride, b.numbers.data() + row * b.stride,
                       std::size_t(a.cols) * sizeof(T)) == 0;
}

/// To the bit, however they lie.
template <class T>
bool same_rows(const Rows<T>& a, const Rows<T>& b) {
    if (a.rows != b.rows || a.cols != b.cols) return false;
    for (ra::Index i = 0; i < a.rows; ++i)
        if (!same_row(a, b, i)) return false;
    return true;
}

struct HeadShape {
    ra::TokenPositions queries, keys;
    ra::Index head_dim = 1;
    bool causal = true;
    ra::Index gap = 0;     ///< between two rows of queries or outputs, of keys or values
    double deviation = 1;  ///< of the numbers of queries and keys
};

template <class T>
struct HeadCase {
    HeadShape shape;
    ra::Mask mask;
    T scale;
    Rows<T> query, key, value;

    explicit HeadCase(const HeadShape& of, std::uint64_t seed = 1)
        : shape(of),
          mask{of.causal},
          scale(T(1) / std::sqrt(T(of.head_dim))),
          query(normal_rows<T>(of.queries.count, of.head_dim, of.gap, 3 * seed, of.deviation)),
          key(normal_rows<T>(of.keys.count, of.head_dim, of.gap, 3 * seed + 1, of.deviation)),
          value(normal_rows<T>(of.keys.count, of.head_dim, of.gap, 3 * seed + 2)) {}

    bool sees(ra::Index i, ra::Index j) const {
        return !shape.causal || shape.keys.first + j <= shape.queries.first + i;
    }

    long double score(ra::Index i, ra::Index j) const {
        long double sum = 0;
        for (ra::Index c = 0; c < shape.head_dim; ++c)
            sum += static_cast<long double>(query(i, c)) * key(j, c);
        return scale * sum;
    }

    /// The largest sum of |query key| that makes a score: its rounding is in proportion.
    double largest_score() const {
        double largest = 0;
        for (ra::Index i = 0; i < query.rows; ++i)
            for (ra::Index j = 0; j < key.rows; ++j) {
                double sum = 0;
                for (ra::Index c = 0; c < shape.head_dim; ++c)
                    sum += std::abs(double(query(i, c)) * double(key(j, c)));
                largest = std::max(largest, double(scale) * sum);
            }
        return largest;
    }
};

/// softmax(scores) value, and the logarithm of the sum of exp(scores). A score of -infinity has no weight; a
/// query for which there is no other gets output 0 and -infinity.
struct HeadOracle {
    Rows<long double> output;
    std::vector<long double> log_sum_exp;

    template <class T>
    explicit HeadOracle(const HeadCase<T>& c) : output(c.query.rows, c.query.cols) {
        constexpr long double infinity = std::numeric_limits<long double>::infinity();
        for (ra::Index i = 0; i < c.query.rows; ++i) {
            std::vector<long double> scores;
            for (ra::Index j = 0; j < c.key.rows && c.sees(i, j); ++j) scores.push_back(c.score(i, j));
            long double maximum = -infinity, sum = 0;
            for (const long double score : scores) maximum = std::max(maximum, score);
            for (ra::Index k = 0; k < c.query.cols; ++k) output(i, k) = 0;
            for (ra::Index j = 0; j < ra::Index(scores.size()); ++j) {
                const long double score = scores[std::size_t(j)],
                                  weight = score == -infinity ? 0 : std::exp(score - maximum);
                sum += weight;
                for (ra::Index k = 0; k < c.query.cols; ++k) output(i, k) += weight * c.value(j, k);
            }
            log_sum_exp.push_back(sum == 0 ? -infinity : maximum + std::log(sum));
            for (ra::Index k = 0; k < c.query.cols; ++k)
                if (sum != 0) output(i, k) /= sum;
        }
    }
};

}  // namespace support
