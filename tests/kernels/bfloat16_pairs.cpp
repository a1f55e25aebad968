// Products of pairs of bfloat16: one lane against its definition, and the micro-kernel against sums in
// double.

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

#include <doctest/doctest.h>

#include <ring_attention/kernels/bfloat16_pairs.hpp>

#include "support/inputs.hpp"

namespace kernels_bfloat16_pairs {

namespace {

namespace ra = ring_attention;
using ra::Bfloat16;
using ra::Index;
using ra::detail::Bfloat16Pair;
using ra::detail::Bfloat16Pairs;
using ra::detail::MatrixView;
using Lanes = ra::detail::Simd<float>;

constexpr std::size_t width = std::size_t(Lanes::width);

std::vector<float> normal(Index count, std::uint64_t seed) {
    return inputs::normal<float>(std::size_t(count), seed);
}

std::vector<Bfloat16> rounded(const std::vector<float>& x) {
    std::vector<Bfloat16> to(x.size());
    ra::detail::round_numbers(x.data(), Index(x.size()), to.data());
    return to;
}

/// Keeps the sums.
struct Keep {
    MatrixView<float> c;

    Keep middle_rows(Index first, Index count) const { return {c.middle_rows(first, count)}; }

    template <std::size_t rows, std::size_t vectors>
    void operator()(const Lanes (&sum)[rows][vectors]) const {
        for (std::size_t i = 0; i < rows; ++i)
            for (std::size_t v = 0; v < vectors; ++v) sum[i][v].store(&c(Index(i), Index(v * width)));
    }
};

}  // namespace

TEST_CASE("pairs of bfloat16: two rows are rounded as numbers are, and given back") {
    for (std::uint64_t seed = 0; seed < 100; ++seed) {
        const std::vector<float> a = normal(Index(width), 2 * seed), b = normal(Index(width), 2 * seed + 1);
        const std::vector<Bfloat16> first = rounded(a), second = rounded(b);
        std::array<Bfloat16Pair, width> given, of_rounded;
        const Bfloat16Pairs pairs = ra::detail::rounded_pairs(Lanes::load(a.data()), Lanes::load(b.data()));
        pairs.store(given.data());
        ra::detail::pair_rows(first.data(), second.data(), Index(width), of_rounded.data());
        std::array<float, width> lower, upper;
        pairs.first().store(lower.data());
        pairs.second().store(upper.data());
        for (std::size_t i = 0; i < width; ++i) {
            CHECK(given[i].first == first[i]);
            CHECK(given[i].second == second[i]);
            CHECK(of_rounded[i].first == first[i]);
            CHECK(of_rounded[i].second == second[i]);
            CHECK(lower[i] == float(first[i]));
            CHECK(upper[i] == float(second[i]));
        }
    }
}

TEST_CASE("pairs of bfloat16: what a row lacks is 0") {
    const std::vector<Bfloat16> row = rounded(normal(37, 1));
    std::vector<Bfloat16Pair> pairs(37);
    ra::detail::pair_rows(row.data(), nullptr, 37, pairs.data());
    for (std::size_t i = 0; i < row.size(); ++i) {
        CHECK(pairs[i].first == row[i]);
        CHECK(pairs[i].second == Bfloat16::from_bits(0));
    }
}

TEST_CASE("pairs of bfloat16: a product adds the second, then the first, each rounded once") {
    for (std::uint64_t seed = 0; seed < 100; ++seed) {
        const auto numbers = [&](std::uint64_t of) { return normal(Index(width), 8 * seed + of); };
        const auto a = numbers(0), b = numbers(1), x = numbers(2), y = numbers(3), c = numbers(4);
        std::array<float, width> given;
        const auto pairs = [](const auto& first, const auto& second) {
            return ra::detail::rounded_pairs(Lanes::load(first.data()), Lanes::load(second.data()));
        };
        fma(pairs(a, b), pairs(x, y), Lanes::load(c.data())).store(given.data());
        for (std::size_t i = 0; i < width; ++i) {
            const auto near = [&](const std::vector<float>& z) { return float(rounded(z)[i]); };
            CHECK(given[i] == std::fma(near(a), near(x), std::fma(near(b), near(y), c[i])));
        }
    }
}

TEST_CASE("pairs of bfloat16: panels of any height and depth are the sums of their products") {
    constexpr Index cols = 2 * Index(width);
    for (const Index rows : {1, 2, 3, 5, 8, 13, 14, 15, 29})
        for (const Index depth : {2, 4, 34, 128}) {
            CAPTURE(rows);
            CAPTURE(depth);
            const std::vector<Bfloat16> a = rounded(normal(rows * depth, 1)),
                                        b = rounded(normal(cols * depth, 2));
            // b (depth, cols) as it lies to rows of pairs.
            std::vector<Bfloat16Pair> panel(static_cast<std::size_t>(depth / 2 * cols));
            for (Index p = 0; p < depth; p += 2)
                ra::detail::pair_rows(&b[std::size_t(p * cols)], &b[std::size_t((p + 1) * cols)], cols,
                                      &panel[std::size_t(p / 2 * cols)]);
            std::vector<float> c(static_cast<std::size_t>(rows * cols));
            ra::detail::multiply_panel<2>(
                rows,
                ra::detail::unpacked_strips(ra::detail::pairs_of_rows({a.data(), rows, depth, depth, 1})),
                panel.data(), cols, ra::detail::whole_depth(depth / 2),
                Keep{{c.data(), rows, cols, cols, 1}});
            double worst = 0;
            for (Index i = 0; i < rows; ++i)
                for (Index j = 0; j < cols; ++j) {
                    double sum = 0;
                    for (Index p = 0; p < depth; ++p)
                        sum += double(a[std::size_t(i * depth + p)]) * double(b[std::size_t(p * cols + j)]);
                    worst = std::max(worst, std::abs(sum - double(c[std::size_t(i * cols + j)])));
                }
            CHECK(worst < 2e-5);
        }
}

}  // namespace kernels_bfloat16_pairs
