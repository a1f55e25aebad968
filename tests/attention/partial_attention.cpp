#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <vector>

#include <doctest/doctest.h>

#include <ring_attention/attention/partial_attention.hpp>

#include "support/inputs.hpp"

namespace attention_partial_attention {

namespace ra = ring_attention;
using ra::Index;
using ra::detail::PartialAttention;

namespace {

constexpr double nothing = -std::numeric_limits<double>::infinity();

/// A part in memory of its own.
template <class T>
struct Part {
    std::vector<T> numbers;
    PartialAttention<T> view;

    Part(Index rows, Index width)
        : numbers(std::size_t(PartialAttention<T>::size(rows, width))), view{numbers.data(), rows, width} {
        view.set_empty();
    }
};

/// One query's attention to some keys of a few scores, in base 2; their values have `width` columns.
template <class T>
void absorb(Part<T>& part, Index row, const std::vector<double>& scores,
            const std::vector<std::vector<double>>& values) {
    const double maximum = scores.empty() ? nothing : *std::max_element(scores.begin(), scores.end());
    if (maximum == nothing) return;
    part.view.maximum(row) = T(maximum);
    for (std::size_t key = 0; key < scores.size(); ++key) {
        const double weight = std::exp2(scores[key] - double(T(maximum)));
        part.view.sum(row) += T(weight);
        for (Index i = 0; i < part.view.value_width; ++i)
            part.view.output(row)[i] += T(weight * values[key][std::size_t(i)]);
    }
}

template <class T>
void check_against_whole(Index rows, Index width, double spread, std::uint64_t seed) {
    constexpr std::size_t keys = 23;
    const std::vector<std::size_t> bounds{0, 1, 1, 9, 14, 14, keys};  // two parts are empty
    Part<T> sum(rows, width);
    std::vector<std::vector<double>> scores, values;
    for (std::size_t key = 0; key < keys; ++key)
        values.push_back(inputs::normal<double>(std::size_t(width), seed + 100 + key));
    for (Index row = 0; row < rows; ++row) {
        scores.push_back(inputs::normal<double>(keys, seed + std::uint64_t(row), spread));
        if (row % 3 == 1) std::fill_n(scores.back().begin(), 12, nothing);  // begins to see in part 3
    }
    for (std::size_t i = 0; i + 1 < bounds.size(); ++i) {
        Part<T> part(rows, width);
        for (Index row = 0; row < rows; ++row) {
            const auto& of_row = scores[std::size_t(row)];
            absorb<T>(
                part, row,
                {of_row.begin() + std::ptrdiff_t(bounds[i]), of_row.begin() + std::ptrdiff_t(bounds[i + 1])},
                {values.begin() + std::ptrdiff_t(bounds[i]), values.begin() + std::ptrdiff_t(bounds[i + 1])});
        }
        ra::detail::merge<T>(sum.view, part.view);
    }
    const double tolerance = 64 * double(std::numeric_limits<T>::epsilon()) * (1 + spread);
    for (Index row = 0; row < rows; ++row) {
        const auto& of_row = scores[std::size_t(row)];
        const double maximum = *std::max_element(of_row.begin(), of_row.end());
        CHECK(double(sum.view.maximum(row)) == double(T(maximum)));
        double total = 0;
        for (const double score : of_row) total += std::exp2(score - maximum);
        CHECK(double(sum.view.sum(row)) == doctest::Approx(total).epsilon(tolerance));
        for (Index i = 0; i < width; ++i) {
            double mean = 0;
            for (std::size_t key = 0; key < keys; ++key)
                mean += std::exp2(of_row[key] - maximum) / total * values[key][std::size_t(i)];
            const double given = double(sum.view.output(row)[i]) / double(sum.view.sum(row));
            CHECK(std::abs(given - mean) < tolerance);
        }
    }
}

}  // namespace

TEST_CASE_TEMPLATE("parts merged one after the other are the attention to all keys", T, float, double) {
    for (const Index width : {1, 3, 16, 17, 64, 70})
        for (const double spread : {0.0, 1.0, 30.0, 1e4}) {
            CAPTURE(width);
            CAPTURE(spread);
            check_against_whole<T>(4, width, spread, std::uint64_t(width));
        }
}

TEST_CASE_TEMPLATE("nothing merged with something is that, to the bit", T, float, double) {
    const Index width = 19;
    for (const bool empty_first : {true, false}) {
        Part<T> some(2, width), empty(2, width);
        absorb<T>(some, 0, {3.5, -1}, {std::vector<double>(19, 0.3), std::vector<double>(19, 7)});
        const Part<T> before = some;
        Part<T>& sum = empty_first ? empty : some;
        ra::detail::merge<T>(sum.view, empty_first ? some.view : empty.view);
        CHECK(sum.numbers == before.numbers);
        CHECK(sum.view.maximum(1) == T(nothing));
        CHECK(sum.view.sum(1) == T(0));
    }
}

TEST_CASE_TEMPLATE("a NaN stays, in its row alone", T, float, double) {
    constexpr T nan = std::numeric_limits<T>::quiet_NaN();
    for (const bool in_first : {true, false}) {
        Part<T> one(2, 5), other(2, 5);
        for (Part<T>* part : {&one, &other})
            absorb<T>(*part, 1, {1, 2}, {std::vector<double>(5, 1), std::vector<double>(5, 2)});
        // All scores NaN: the maximum knows nothing of them.
        Part<T>& wild = in_first ? one : other;
        wild.view.sum(0) = nan;
        std::fill_n(wild.view.output(0), 5, nan);
        absorb<T>(in_first ? other : one, 0, {40}, {std::vector<double>(5, 1)});
        ra::detail::merge<T>(one.view, other.view);
        CHECK(std::isnan(one.view.sum(0)));
        CHECK(std::isnan(one.view.output(0)[4]));
        CHECK(double(one.view.output(1)[4] / one.view.sum(1)) == doctest::Approx(5.0 / 3));
    }
}

}  // namespace attention_partial_attention
