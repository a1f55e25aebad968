// The gradients where scores are so large that the logarithm of the sum of their exponentials is rounded by
// more than a weight can bear. The queries and keys are such that their products are exact: what is judged is
// what becomes of the scores.

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include <ring_attention/layers/ring_attention.hpp>
#include <ring_attention/ring/thread/thread_ring.hpp>

#include "support/attention_on_ranks.hpp"

namespace {

namespace ra = ring_attention;
using ra::Index;

enum class Keys {
    equal,         ///< all scores of a query are the same
    nearly_equal,  ///< three sizes, one unit in the last place apart
    dominant,      ///< one key gets all the weight of those that see it
    negative,      ///< as nearly equal, below 0
};

constexpr Keys every_kind[] = {Keys::equal, Keys::nearly_equal, Keys::dominant, Keys::negative};

/// Whether a score times its scale minus the largest is rounded once. Where it is not, forward too knows
/// nearly equal scores as well as T can hold their products.
template <class T>
bool rounds_once() {
    const ra::detail::Simd<T> x(T(1) + std::numeric_limits<T>::epsilon());
    return ra::detail::fma(x, x, -(x * x)).lanes[0] != T(0);
}

/// q = 4 e0, k = about size e0 and anything across it: scores of 4 size / sqrt(head_dim).
template <class T>
support::AttentionCase<T> case_of(const oracle::AttentionShape& shape, Keys keys, double size) {
    support::AttentionCase<T> c(shape, support::Scores::wide, 5);
    const std::size_t d = shape.head_dim;
    for (std::size_t row = 0; row < shape.num_rows(); ++row) {
        const std::size_t token = row % shape.seq_len;
        std::fill_n(c.q.data() + row * d, d, T(0));
        c.q.data()[row * d] = T(4);
        T key = T(keys == Keys::negative ? -size : size);
        if (keys != Keys::equal)
            for (std::size_t i = 0; i < token % 3; ++i)
                key = std::nextafter(key, std::numeric_limits<T>::infinity());
        if (keys == Keys::dominant && token != shape.seq_len / 2) key -= T(200);
        c.k.data()[row * d] = key;
        for (std::size_t i = 1; i < d; ++i) c.k.data()[row * d + i] *= T(0.01);
    }
    return c;
}

/// The largest difference of a gradient from the true one of the scores as T has them, relative to the true
/// one or to the terms of which it is the sum. The oracle, which rounds too, gets keys that are nearer to 0
/// by the same for all, which changes no weight.
template <class T>
double error_of(const support::AttentionCase<T>& c, const support::AttentionRun<T>& run, bool causal) {
    using R = long double;
    const R scale = R(T(1) / std::sqrt(T(c.shape.head_dim)));
    std::vector<R> keys = inputs::widen<R>(c.k);
    for (std::size_t row = 0; row < c.shape.num_rows(); ++row)
        keys[row * c.shape.head_dim] -= R(c.k.data()[0]);
    const auto gradient = oracle::attention_backward(inputs::widen<R>(c.d_output), inputs::widen<R>(c.q),
                                                     keys, inputs::widen<R>(c.v), c.shape, causal, scale);
    const double d_score = double(scale) * support::largest_row_product(c.d_output, c.v, c.shape);
    const auto relative = [](const auto& given, const auto& expected, double terms) {
        return compare::largest_difference(given, expected) / std::max(terms, compare::largest(expected));
    };
    return std::max({relative(run.gradient.query, gradient.query, d_score * compare::largest(c.k)),
                     relative(run.gradient.key, gradient.key, d_score * compare::largest(c.q)),
                     relative(run.gradient.value, gradient.value, 0)});
}

template <class T>
std::vector<double> sizes() {
    if constexpr (std::is_same_v<T, float>)
        return {60, 80, 1e4, 1e6, 1e8, 1e9};
    else
        return {80, 1e6, 1e12, 1e15, 1e17};
}

}  // namespace

TEST_CASE_TEMPLATE("attention backward: as exact as forward at large scores", T, float, double) {
    const double bound = std::is_same_v<T, float> ? 1e-5 : 2e-14;
    for (const Keys keys : every_kind)
        for (const double size : sizes<T>())
            for (const std::size_t head_dim : {16u, 8u, 5u})
                for (const bool causal : {true, false}) {
                    if (keys != Keys::equal && !rounds_once<T>()) continue;
                    const auto c = case_of<T>({1, 1, 64, head_dim}, keys, size);
                    CAPTURE(int(keys));
                    CAPTURE(size);
                    CAPTURE(head_dim);
                    CAPTURE(causal);
                    CHECK(error_of(c, support::run(c, {.num_chunks = 3, .causal = causal}), causal) < bound);
                }
}

TEST_CASE_TEMPLATE("attention: equal scores give the mean of the values, however large they are", T, float,
                   double) {
    for (const double size : {1e6, 1e9, 1e10, 1e20, 1e30})
        for (const bool causal : {true, false}) {
            CAPTURE(size);
            const auto c = case_of<T>({1, 1, 200, 5}, Keys::equal, size);
            const auto result = ra::attention(c.q, c.k, c.v, {.causal = causal});
            for (Index column = 0; column < 5; ++column) {
                double sum = 0;
                for (Index j = 0; j < 200; ++j) sum += double(c.v(0, 0, j, column));
                CHECK(double(result.output(0, 0, 199, column)) ==
                      doctest::Approx(sum / 200).epsilon(1e-5).scale(1));
                if (!causal)
                    CHECK(double(result.output(0, 0, 0, column)) ==
                          doctest::Approx(sum / 200).epsilon(1e-5).scale(1));
            }
        }
}

TEST_CASE_TEMPLATE("attention backward: the weights add up to 1 at large scores", T, float, double) {
    for (const Keys keys : every_kind)
        for (const double size : sizes<T>()) {
            CAPTURE(int(keys));
            CAPTURE(size);
            const auto c = case_of<T>({1, 1, 64, 5}, keys, size);
            const auto run = support::run(c, {});
            for (Index column = 0; column < 5; ++column) {
                double given = 0, expected = 0;  // a value's gradient is its share of each query's
                for (Index i = 0; i < 64; ++i) {
                    given += double(run.gradient.value(0, 0, i, column));
                    expected += double(c.d_output(0, 0, i, column));
                }
                CHECK(std::abs(given - expected) < (std::is_same_v<T, float> ? 1e-4 : 1e-12));
            }
        }
}

TEST_CASE("attention backward: the smallest case of large scores, equal ones of many tokens") {
    for (const double size : {1e4, 1e6, 1e8}) {
        const auto c = case_of<float>({1, 1, 64, 16}, Keys::equal, size);
        const auto run = support::run(c, {.causal = false});
        // All weights are 1 / 64.
        for (Index column = 0; column < 16; ++column) {
            double mean = 0;
            for (Index i = 0; i < 64; ++i) mean += double(c.d_output(0, 0, i, column)) / 64;
            for (Index j = 0; j < 64; ++j)
                CHECK(double(run.gradient.value(0, 0, j, column)) == doctest::Approx(mean).epsilon(1e-5));
        }
    }
}

TEST_CASE_TEMPLATE("attention backward: large scores beside small ones, in one tile of queries", T, float,
                   double) {
    auto c = case_of<T>({2, 3, 70, 8}, rounds_once<T>() ? Keys::nearly_equal : Keys::equal, 1e6);
    for (Index row = 0; row < 2 * 3 * 70; ++row) c.q.data()[row * 8] = row % 3 == 0 ? T(4) : T(4e-6);
    const double bound = std::is_same_v<T, float> ? 1e-5 : 2e-14;
    CHECK(error_of(c, support::run(c, {.num_chunks = 2}), true) < bound);
}

TEST_CASE_TEMPLATE("attention backward: ranks give the same bits at large scores", T, float, double) {
    for (const Keys keys : {Keys::nearly_equal, Keys::dominant})
        for (const ra::Layout layout : support::every_layout) {
            const auto c = case_of<T>({1, 2, 33, 8}, keys, 1e6);
            const ra::AttentionOptions options{.num_chunks = 4, .layout = layout};
            const auto alone = support::run(c, options);
            for (const int ranks : {2, 3})
                ra::ThreadRing::run(ranks, [&](ra::ThreadRing& ring) {
                    const ra::Share share = ra::share(ring, 33, 4, layout);
                    if (!support::same_bits(support::run_rank(c, options, ring),
                                            support::part_of(alone, share)))
                        throw ra::Error("other bits on " + std::to_string(ranks) + " ranks");
                });
        }
}

TEST_CASE("attention backward: a result without a rest is as good as its log_sum_exp") {
    const auto small = case_of<float>({1, 1, 20, 16}, Keys::nearly_equal, 20),
               large = case_of<float>({1, 1, 20, 16}, Keys::nearly_equal, 1e6);
    const auto without_rest = [](const auto& c) {
        auto run = support::run(c, {});
        run.result.log_sum_exp_rest = {};
        run.gradient = ra::attention_backward(c.d_output, c.q, c.k, c.v, run.result);
        return error_of(c, run, true);
    };
    CHECK(without_rest(small) < 1e-5);
    CHECK(without_rest(large) < 0.1);
}

TEST_CASE("attention backward: queries that are not finite, or saw nothing, have no rest") {
    auto c = case_of<float>({1, 1, 20, 8}, Keys::nearly_equal, 1e6);
    constexpr float infinity = std::numeric_limits<float>::infinity();
    c.q(0, 0, 3, 0) = std::numeric_limits<float>::quiet_NaN();
    c.q(0, 0, 4, 0) = infinity;
    c.q(0, 0, 5, 0) = -infinity;
    const auto run = support::run(c, {});
    for (const Index i : {3, 4, 5}) CHECK(run.result.log_sum_exp_rest(0, 0, i) == 0);
    CHECK(run.result.log_sum_exp_rest(0, 0, 6) != 0);
    for (const Index i : {0, 2, 6, 19}) CHECK(std::isfinite(run.gradient.query(0, 0, i, 0)));
}

TEST_CASE("ring attention layer: as exact at large scores, on several seats") {
    // q = x0 e0, k = x0 e0, v = x without x0; out_proj is the identity.
    constexpr Index width = 16, tokens = 48;
    using Layer = ra::RingAttention<float, ra::AttentionLayerOptions{.width = width}>;
    Layer layer;
    for (auto* kernel : {&layer.qkv.kernel, &layer.out_proj.kernel}) kernel->setZero();
    layer.qkv.bias.setZero(), layer.out_proj.bias.setZero();
    layer.qkv.kernel(0, 0) = layer.qkv.kernel(0, width) = 1;
    for (Index i = 1; i < width; ++i) layer.qkv.kernel(i, 2 * width + i) = 1;
    layer.out_proj.kernel.diagonal().setOnes();

    support::AttentionCase<float> c({1, 1, std::size_t(tokens), std::size_t(width)},
                                    support::Scores::ordinary);
    ra::Matrix<float> x(tokens, width), d(tokens, width);
    for (Index i = 0; i < tokens; ++i)
        for (Index j = 0; j < width; ++j) {
            x(i, j) = j == 0 ? 2048.0f : c.v(0, 0, i, j);
            c.q(0, 0, i, j) = c.k(0, 0, i, j) = j == 0 ? x(i, 0) : 0;
            c.v(0, 0, i, j) = j == 0 ? 0 : x(i, j);
            d(i, j) = c.d_output(0, 0, i, j);
        }
    ra::LocalRing ring;
    const ra::Share share = ra::share(ring, tokens, 3);
    const ra::Pass pass{ring, share, 1, ra::KeepPatternReference{}};
    Layer::Cache cache;
    Layer gradient = ra::zeros_like(layer);
    layer.forward(x, &cache, pass);
    const ra::Matrix<float> d_x =
        layer.backward(d, cache, ra::SeatGradients<Layer>(gradient, ra::rows_of_seats(share, 1), ring), pass);
    const auto expected = oracle::attention_backward(
        inputs::widen<long double>(c.d_output), inputs::widen<long double>(c.q),
        inputs::widen<long double>(c.k), inputs::widen<long double>(c.v), c.shape, true);
    for (Index i = 0; i < tokens; ++i)
        for (Index j = 1; j < width; ++j)
            CHECK(double(d_x(i, j)) ==
                  doctest::Approx(double(expected.value[std::size_t(i * width + j)])).epsilon(1e-5).scale(1));
}
