#pragma once

// One head as the attention kernels take it: rows of queries, keys and values at places of a sequence. And
// what plain arithmetic in long double makes of them.

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstring>
#include <limits>
#include <ostream>
#include <vector>

#include <ring_attention/attention/scores.hpp>
#include <ring_attention/attention/tile.hpp>
#include <ring_attention/kernels/matrix_view.hpp>

#include "infinity.hpp"
#include "inputs.hpp"

namespace support {

namespace ra = ring_attention;

/// What must not spread.
template <class T>
constexpr T wild[] = {std::numeric_limits<T>::quiet_NaN(), infinity<T>, -infinity<T>};

/// Of a tile: its keys, and its queries.
template <class T>
constexpr ra::Index tile_keys = ra::detail::AttentionTile<T>::keys;
template <class T>
constexpr ra::Index lanes = ra::detail::AttentionTile<T>::lanes;

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

    ra::detail::MatrixView<T> view() { return {numbers.data(), rows, cols, stride, 1}; }
    ra::detail::MatrixView<const T> view() const { return {numbers.data(), rows, cols, stride, 1}; }

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
    ra::Index window = 0;
    ra::Index group = 1;         ///< query heads, which all read these keys
    bool head_by_head = false;   ///< how the rows of a group lie, else token by token
    ra::Index value_width = -1;  ///< -1: as head_dim

    ra::Index query_rows() const { return queries.count * group; }
    ra::Index width_of_values() const { return value_width < 0 ? head_dim : value_width; }

    /// The token that a row of the queries or outputs, as they lie, is of.
    ra::Index token_of(ra::Index row) const { return head_by_head ? row % queries.count : row / group; }

    /// Rows of queries or outputs as the library sees them.
    template <class Number>
    ra::HeadsView<Number> heads(Number* numbers, ra::Index width, ra::Index stride) const {
        return {numbers,
                group,
                queries.count,
                width,
                query_rows() * stride,
                head_by_head ? queries.count * stride : stride,
                head_by_head ? stride : group * stride};
    }

    template <class T>
    ra::HeadsView<T> heads(Rows<T>& rows) const {
        return heads(rows.numbers.data(), rows.cols, rows.stride);
    }
    template <class T>
    ra::HeadsView<const T> heads(const Rows<T>& rows) const {
        return heads(rows.numbers.data(), rows.cols, rows.stride);
    }

    /// One batch entry, one key-value head.
    template <class T>
    ra::AttentionPlan plan() const {
        const ra::Index key_len =
            keys.count == 0 ? keys.first : std::max<ra::Index>(0, keys.position(keys.count - 1) + 1);
        const ra::Share nowhere(ra::ChunkLayout(1, 1), 0, 1);  // queries and keys are given with their places
        return {nowhere,
                nowhere,
                {1, group, 1, head_dim, width_of_values()},
                {key_len, causal, window},
                {ra::default_scale<T>(head_dim), 0, {}}};
    }

    friend std::ostream& operator<<(std::ostream& out, const HeadShape& shape) {
        const auto tell = [&](const char* name, const ra::TokenPositions& tokens) {
            out << tokens.count << name << tokens.first << ", stride " << tokens.stride << ", "
                << tokens.before_gap() << " before a gap of " << tokens.gap << "; ";
        };
        tell(" queries from ", shape.queries);
        tell(" keys from ", shape.keys);
        return out << "head_dim " << shape.head_dim << ", value_width " << shape.width_of_values()
                   << ", causal " << shape.causal << ", window " << shape.window << ", gap " << shape.gap
                   << ", group " << shape.group
                   << (shape.head_by_head ? ", head by head" : ", token by token");
    }
};

template <class T>
struct HeadCase {
    HeadShape shape;
    ra::AttentionPlan plan;
    ra::ScoreTerms<T> terms;
    T scale;
    Rows<T> query, key, value;

    explicit HeadCase(const HeadShape& of, std::uint64_t seed = 1)
        : shape(of),
          plan(of.plan<T>()),
          scale(T(1) / std::sqrt(T(of.head_dim))),
          query(normal_rows<T>(of.query_rows(), of.head_dim, of.gap, 3 * seed, of.deviation)),
          key(normal_rows<T>(of.keys.count, of.head_dim, of.gap, 3 * seed + 1, of.deviation)),
          value(normal_rows<T>(of.keys.count, of.width_of_values(), of.gap, 3 * seed + 2)) {}

    /// i: a row, j: a key.
    bool sees(ra::Index i, ra::Index j) const {
        const ra::Index at = shape.queries.position(shape.token_of(i)), key_at = shape.keys.position(j);
        return (!shape.causal || key_at <= at) && (shape.window == 0 || std::abs(at - key_at) < shape.window);
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
    explicit HeadOracle(const HeadCase<T>& c) : output(c.query.rows, c.value.cols) {
        constexpr long double infinity = std::numeric_limits<long double>::infinity();
        std::vector<long double> scores(std::size_t(c.key.rows));
        for (ra::Index i = 0; i < c.query.rows; ++i) {
            long double maximum = -infinity, sum = 0;
            for (ra::Index j = 0; j < c.key.rows; ++j)
                if (c.sees(i, j)) maximum = std::max(maximum, scores[std::size_t(j)] = c.score(i, j));
            for (ra::Index k = 0; k < output.cols; ++k) output(i, k) = 0;
            for (ra::Index j = 0; j < c.key.rows; ++j) {
                if (!c.sees(i, j)) continue;
                const long double score = scores[std::size_t(j)],
                                  weight = score == -infinity ? 0 : std::exp(score - maximum);
                sum += weight;
                for (ra::Index k = 0; k < output.cols; ++k) output(i, k) += weight * c.value(j, k);
            }
            log_sum_exp.push_back(sum == 0 ? -infinity : maximum + std::log(sum));
            for (ra::Index k = 0; k < output.cols; ++k)
                if (sum != 0) output(i, k) /= sum;
        }
    }
};

}  // namespace support
