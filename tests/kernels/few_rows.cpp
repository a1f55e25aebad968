// Products of a few rows with many, against sums in long double; and that a number's bits depend neither on
// the other rows nor on where its sum begins or is interrupted.

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <type_traits>
#include <vector>

#include <doctest/doctest.h>

#include <ring_attention/kernels/few_rows.hpp>

#include "support/inputs.hpp"
#include "support/instances.hpp"

namespace kernels_few_rows {

namespace {

namespace ra = ring_attention;
using ra::Bfloat16;
using ra::Index;
using ra::detail::MatrixView;

template <class T>
constexpr Index width = ra::detail::Simd<T>::width;

/// Numbers in rows `stride` apart, with NaN wherever nobody is to read.
template <class Number>
struct Rows {
    std::vector<Number> numbers;
    MatrixView<const Number> view;

    template <class T>
    Rows(const std::vector<T>& given, Index rows, Index cols, Index stride)
        : numbers(std::size_t(rows * stride), not_a_number()) {
        for (Index i = 0; i < rows; ++i)
            for (Index j = 0; j < cols; ++j)
                put(given[std::size_t(i * cols + j)], numbers[std::size_t(i * stride + j)]);
        view = {numbers.data(), rows, cols, stride, 1};
    }

  private:
    static Number not_a_number() {
        Number number;
        put(std::numeric_limits<float>::quiet_NaN(), number);
        return number;
    }
    template <class T>
    static void put(T given, Number& to) {
        if constexpr (std::is_same_v<Number, Bfloat16>)
            ra::detail::round_numbers(&given, 1, &to);
        else
            to = Number(given);
    }
};

template <class T>
std::vector<T> normal(Index count, std::uint64_t seed) {
    return inputs::normal<T>(std::size_t(count), seed);
}

/// rows (M, D), each padded with zeros to whole vectors.
template <class T>
struct Padded {
    std::vector<T> numbers;
    MatrixView<const T> view;

    Padded(const std::vector<T>& given, Index rows, Index cols) {
        const Index padded = (cols + width<T> - 1) / width<T> * width<T>;
        numbers.assign(std::size_t(rows * padded), T(0));
        for (Index i = 0; i < rows; ++i)
            for (Index j = 0; j < cols; ++j)
                numbers[std::size_t(i * padded + j)] = given[std::size_t(i * cols + j)];
        view = {numbers.data(), rows, padded, padded, 1};
    }
};

template <class T, class Number>
std::vector<T> scores_of(const Padded<T>& rows, const MatrixView<const Number>& others) {
    std::vector<T> scores(std::size_t(rows.view.rows * others.rows));
    ra::detail::multiply_few_rows<T>(rows.view, others, scores.data(), others.rows);
    return scores;
}

template <class T, class Number>
void check_scores(Index count, Index depth, Index num_others) {
    CAPTURE(count);
    CAPTURE(depth);
    CAPTURE(num_others);
    const std::vector<T> given = normal<T>(count * depth, 1);
    const Padded<T> rows(given, count, depth);
    const Rows<Number> others(normal<T>(num_others * depth, 2), num_others, depth, depth + 3);
    const std::vector<T> scores = scores_of(rows, others.view);
    for (Index i = 0; i < count; ++i)
        for (Index n = 0; n < num_others; ++n) {
            long double sum = 0, size = 0;
            for (Index j = 0; j < depth; ++j) {
                const long double term =
                    static_cast<long double>(given[std::size_t(i * depth + j)]) * T(others.view(n, j));
                sum += term, size += std::abs(term);
            }
            const T score = scores[std::size_t(i * num_others + n)];
            REQUIRE(std::abs(double(score - sum)) <=
                    double(std::numeric_limits<T>::epsilon()) * double(depth) * double(size));
        }
    // One of the others by itself gives the same bits, whatever vector it was in before.
    for (Index n = 0; n < num_others; ++n) {
        const std::vector<T> alone = scores_of(rows, others.view.middle_rows(n, 1));
        for (Index i = 0; i < count; ++i)
            REQUIRE(alone[std::size_t(i)] == scores[std::size_t(i * num_others + n)]);
    }
}

template <class T, class Number>
void check_sums(Index count, Index num_others, Index depth) {
    CAPTURE(count);
    CAPTURE(depth);
    CAPTURE(num_others);
    const std::vector<T> weights = normal<T>(count * num_others, 3), before = normal<T>(count * depth, 4);
    const Rows<Number> others(normal<T>(num_others * depth, 5), num_others, depth, depth + 5);
    const MatrixView<const T> weight{weights.data(), count, num_others, num_others, 1};
    const auto add = [&](std::vector<T>& sums, Index first, Index how_many) {
        ra::detail::add_weighted_to_few_rows<T>(weight.middle_cols(first, how_many),
                                                others.view.middle_rows(first, how_many),
                                                {sums.data(), count, depth, depth, 1});
    };
    std::vector<T> sums = before;
    add(sums, 0, num_others);
    for (Index i = 0; i < count; ++i)
        for (Index j = 0; j < depth; ++j) {
            long double sum = before[std::size_t(i * depth + j)], size = std::abs(sum);
            for (Index n = 0; n < num_others; ++n) {
                const long double term = static_cast<long double>(weight(i, n)) * T(others.view(n, j));
                sum += term, size += std::abs(term);
            }
            REQUIRE(std::abs(double(sums[std::size_t(i * depth + j)] - sum)) <=
                    double(std::numeric_limits<T>::epsilon()) * double(num_others + 1) * double(size));
        }
    std::vector<T> interrupted = before;
    const Index part = num_others / 3;
    add(interrupted, 0, part), add(interrupted, part, num_others - part);
    CHECK(interrupted == sums);
}

}  // namespace

TEST_CASE_TEMPLATE("few rows: products with many", T, float, double) {
    for (const Index count : {1, 2, 5, 16})
        for (const Index depth : {Index(1), width<T> - 1, width<T>, width<T> + 1, Index(64), Index(80)})
            for (const Index num_others : {Index(1), width<T>, 3 * width<T> + 2}) {
                check_scores<T, T>(count, depth, num_others);
                check_scores<T, Bfloat16>(count, depth, num_others);
            }
}

TEST_CASE_TEMPLATE("few rows: weighted sums of many", T, float, double) {
    for (const Index count : {1, 2, 3, 7, 16})
        for (const Index depth : {Index(1), width<T> - 1, width<T>, 4 * width<T>, 6 * width<T> + 3})
            for (const Index num_others : {1, 31, 32, 77}) {
                check_sums<T, T>(count, num_others, depth);
                check_sums<T, Bfloat16>(count, num_others, depth);
            }
}

}  // namespace kernels_few_rows
