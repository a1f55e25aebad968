#include <algorithm>
#include <cmath>
#include <complex>
#include <set>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include <ring_attention/attention/operator.hpp>
#include <ring_attention/layers/ring_attention.hpp>

#include "support/layer_case.hpp"
#include "support/tensors.hpp"

namespace layers_ring_attention {

namespace ra = ring_attention;

namespace {

constexpr ra::AttentionLayerOptions plain{.width = 6, .heads = 2};
constexpr ra::AttentionLayerOptions everything{.width = 4,
                                               .heads = 4,
                                               .key_value_heads = 2,
                                               .head_width = 3,
                                               .window = 3,
                                               .softcap = 1.5f,
                                               .scale = 0.7f,
                                               .sinks = true};
constexpr ra::AttentionLayerOptions multi_query{
    .width = 4, .heads = 4, .key_value_heads = 1, .causal = false, .sinks = true};
constexpr ra::AttentionLayerOptions all_near{.width = 3, .causal = false, .window = 2};
constexpr ra::AttentionLayerOptions rotary{.width = 8, .heads = 2, .rotary = {.on = true, .base = 20}};
constexpr ra::AttentionLayerOptions llama3{.width = 4,
                                           .heads = 4,
                                           .key_value_heads = 2,
                                           .head_width = 6,
                                           .qkv_bias = false,
                                           .out_bias = false,
                                           .rotary = {.on = true,
                                                      .base = 500,
                                                      .scaling = ra::RotaryScaling::llama3,
                                                      .factor = 3,
                                                      .original_positions = 50}};
constexpr ra::AttentionLayerOptions normalised{
    .width = 5, .heads = 3, .head_width = 3, .causal = false, .query_key_norm = true, .norm_epsilon = 0.125f};
constexpr ra::AttentionLayerOptions with_all{.width = 4,
                                             .heads = 4,
                                             .key_value_heads = 2,
                                             .head_width = 4,
                                             .window = 4,
                                             .softcap = 1.5f,
                                             .scale = 0.7f,
                                             .sinks = true,
                                             .qkv_bias = false,
                                             .query_key_norm = true,
                                             .rotary = {.on = true,
                                                        .base = 30,
                                                        .pairs = ra::RotaryPairs::interleaved,
                                                        .scaling = ra::RotaryScaling::linear,
                                                        .factor = 2}};

/// Columns [first, first + heads * width) of rows [batch * tokens, ...] as [batch, heads, tokens, width].
ra::Tensor<double, 4> heads_of(const Eigen::MatrixXd& rows, ra::Index first, ra::Index batch, ra::Index heads,
                               ra::Index width) {
    const ra::Index tokens = rows.rows() / batch;
    ra::Tensor<double, 4> tensor(batch, heads, tokens, width);
    for (ra::Index b = 0; b < batch; ++b)
        for (ra::Index h = 0; h < heads; ++h)
            for (ra::Index t = 0; t < tokens; ++t)
                for (ra::Index i = 0; i < width; ++i)
                    tensor(b, h, t, i) = rows(b * tokens + t, first + h * width + i);
    return tensor;
}

/// The norm of each head [batch, heads, tokens, width], then its turn, by their definitions.
template <ra::AttentionLayerOptions options>
void place(ra::Tensor<double, 4>& heads, const ra::RowVector<double>& gamma,
           const std::vector<ra::Index>& document_starts) {
    const ra::Index width = heads.dimension(3), pairs = width / 2;
    const bool halves = options.rotary.pairs == ra::RotaryPairs::half_split;
    for (ra::Index row = 0; row < heads.size() / width; ++row) {
        Eigen::Map<Eigen::RowVectorXd> x(heads.data() + row * width, width);
        if (options.query_key_norm)
            x = (x / std::sqrt(x.squaredNorm() / double(width) + double(options.norm_epsilon)))
                    .cwiseProduct(gamma);
        if (!options.rotary.on) continue;
        ra::Index position = row % heads.dimension(2), start = 0;
        for (const ra::Index begin : document_starts)
            if (begin <= position) start = begin;
        for (ra::Index i = 0; i < pairs; ++i) {
            const double angle = double(position - start) * ra::rotary_frequency(options.rotary, width, i);
            double &a = x[halves ? i : 2 * i], &b = x[halves ? i + pairs : 2 * i + 1];
            const std::complex<double> turned = std::complex(a, b) * std::polar(1.0, angle);
            a = turned.real();
            b = turned.imag();
        }
    }
}

/// x kernel + bias, where there is one.
Eigen::MatrixXd projected(const auto& dense, const Eigen::MatrixXd& x) {
    Eigen::MatrixXd y = x * dense.kernel;
    if (dense.bias.size() > 0) y.rowwise() += dense.bias;
    return y;
}

/// out_proj(attention(qkv(x))), by the operator.
template <ra::AttentionLayerOptions of_layer, class L>
Eigen::MatrixXd by_operator(const L& layer, const Eigen::MatrixXd& x, ra::Index batch,
                            const ra::AttentionOptions& options) {
    const Eigen::MatrixXd qkv = projected(layer.qkv, x);
    const ra::Index width = L::head_width;
    ra::Tensor<double, 1> sink(L::heads);
    ra::AttentionTerms<double> terms;
    if (of_layer.sinks) {
        std::copy_n(layer.sinks.data(), L::heads, sink.data());
        terms.sinks = &sink;
    }
    auto query = heads_of(qkv, 0, batch, L::heads, width),
         key = heads_of(qkv, L::heads * width, batch, L::key_value_heads, width);
    place<of_layer>(query, layer.q_norm.gamma, options.document_starts);
    place<of_layer>(key, layer.k_norm.gamma, options.document_starts);
    const auto mixed = ra::attention<double>(query, key,
                                             heads_of(qkv, (L::heads + L::key_value_heads) * width, batch,
                                                      L::key_value_heads, width),
                                             options, terms)
                           .output;
    Eigen::MatrixXd merged(x.rows(), L::heads * width);
    const ra::Index tokens = x.rows() / batch;
    for (ra::Index row = 0; row < x.rows(); ++row)
        for (ra::Index i = 0; i < merged.cols(); ++i)
            merged(row, i) = mixed(row / tokens, i / width, row % tokens, i % width);
    return projected(layer.out_proj, merged);
}

template <ra::AttentionLayerOptions options>
void check_against_operator(ra::AttentionOptions of_operator) {
    using Layer = ra::RingAttention<double, options>;
    constexpr ra::Index batch = 2, seq_len = 9;
    Layer layer;
    support::randomise(layer);
    const ra::Matrix<double> x = support::normal_matrix(batch * seq_len, Layer::in_width, 5);
    ra::LocalRing ring;
    const ra::Share share(ra::ChunkLayout(seq_len, 1), 0, 1);
    for (const ra::Sequences& sequences :
         {ra::Sequences{}, ra::Sequences{.document_starts = {0, 4, 5}, .lengths = {9, 3}}}) {
        const ra::Pass pass{ring, share, batch, {}, 0, false, &sequences};
        of_operator.document_starts = sequences.document_starts;
        of_operator.lengths = sequences.lengths;
        const Eigen::MatrixXd expected = by_operator<options>(layer, x, batch, of_operator);
        CHECK((layer.forward(x, nullptr, pass) - expected).cwiseAbs().maxCoeff() < 1e-13);
    }
}

}  // namespace

TEST_CASE("ring attention layer: it is the operator between two Dense layers, whatever its options") {
    check_against_operator<plain>({});
    check_against_operator<everything>({.window = 3, .scale = double(0.7f), .softcap = 1.5});
    check_against_operator<multi_query>({.causal = false});
    check_against_operator<all_near>({.causal = false, .window = 2});
    check_against_operator<rotary>({});
    check_against_operator<llama3>({});
    check_against_operator<normalised>({.causal = false});
    check_against_operator<with_all>({.window = 4, .scale = double(0.7f), .softcap = 1.5});
}

TEST_CASE("ring attention layer: finite differences") {
    using Layer = ra::RingAttention<double, plain>;
    support::check_layer<Layer>({.batch = 2, .seq_len = 4, .num_seats = 1});
    support::check_layer<Layer>({.batch = 2, .seq_len = 5, .num_seats = 3});
    support::check_layer<Layer>({.batch = 1, .seq_len = 2, .num_seats = 5});
    support::check_layer<Layer>({.batch = 3, .seq_len = 1, .num_seats = 1});
}

TEST_CASE("ring attention layer: finite differences of groups, window, soft cap, scale and sinks") {
    using Layer = ra::RingAttention<double, everything>;
    support::check_layer<Layer>({.batch = 2, .seq_len = 7, .num_seats = 3});
    support::check_layer<Layer>(
        {.batch = 2, .seq_len = 7, .num_seats = 3, .sequences = {.document_starts = {0, 2, 3}}});
}

TEST_CASE("ring attention layer: finite differences where tokens see those behind them") {
    using MultiQuery = ra::RingAttention<double, multi_query>;
    support::check_layer<MultiQuery>({.batch = 2, .seq_len = 5, .num_seats = 2});
    support::check_layer<MultiQuery>({.batch = 2,
                                      .seq_len = 5,
                                      .num_seats = 2,
                                      .sequences = {.document_starts = {0, 3}, .lengths = {4, 0}}});
    support::check_layer<ra::RingAttention<double, all_near>>({.batch = 1, .seq_len = 5, .num_seats = 2});
}

TEST_CASE("ring attention layer: finite differences of rotary positions, in documents too") {
    using Rotary = ra::RingAttention<double, rotary>;
    support::check_layer<Rotary>({.batch = 2, .seq_len = 6, .num_seats = 3});
    support::check_layer<ra::RingAttention<double, llama3>>(
        {.batch = 1, .seq_len = 7, .num_seats = 2, .sequences = {.document_starts = {0, 2, 3}}});
}

TEST_CASE("ring attention layer: finite differences of norms of queries and keys") {
    using Normalised = ra::RingAttention<double, normalised>;
    support::check_layer<Normalised>({.batch = 2, .seq_len = 4, .num_seats = 3});
    support::check_layer<Normalised>({.batch = 1, .seq_len = 70, .num_seats = 1});
    using WithAll = ra::RingAttention<double, with_all>;
    support::check_layer<WithAll>({.batch = 2, .seq_len = 7, .num_seats = 3});
    support::check_layer<WithAll>({.batch = 2,
                                   .seq_len = 7,
                                   .num_seats = 2,
                                   .sequences = {.document_starts = {0, 3}, .lengths = {6, 7}}});
}

TEST_CASE("ring attention layer: biases and norms that are not there are no parameters") {
    const auto names = [](const auto& layer) {
        std::set<std::string> found;
        ra::for_each_parameter(layer, [&](std::string_view name, const auto&) { found.emplace(name); });
        return found;
    };
    CHECK(names(ra::RingAttention<float, plain>{}) ==
          std::set<std::string>{"qkv.kernel", "qkv.bias", "out_proj.kernel", "out_proj.bias"});
    CHECK(names(ra::RingAttention<float, llama3>{}) ==
          std::set<std::string>{"qkv.kernel", "out_proj.kernel"});
    const ra::RingAttention<float, with_all> layer;
    CHECK(names(layer) == std::set<std::string>{"qkv.kernel", "q_norm.gamma", "k_norm.gamma",
                                                "out_proj.kernel", "out_proj.bias", "sinks"});
    CHECK((layer.q_norm.gamma.size() == 4 && layer.k_norm.gamma.isOnes(0)));
}

TEST_CASE("ring attention layer: layers of one type may have different windows") {
    using Layer = ra::RingAttention<double, with_all>;
    CHECK(Layer{}.window == 4);
    constexpr ra::Index batch = 2, seq_len = 9;
    const ra::Matrix<double> x = support::normal_matrix(batch * seq_len, Layer::in_width, 5);
    ra::LocalRing ring;
    const ra::Share share(ra::ChunkLayout(seq_len, 1), 0, 1);
    const ra::Sequences sequences;
    const ra::Pass pass{ring, share, batch, {}, 0, false, &sequences};
    for (const ra::Index window : {0, 1, 3, 4, 9}) {
        Layer layer;
        support::randomise(layer);
        layer.window = window;
        const Eigen::MatrixXd expected =
            by_operator<with_all>(layer, x, batch, {.window = window, .scale = double(0.7f), .softcap = 1.5});
        CHECK((layer.forward(x, nullptr, pass) - expected).cwiseAbs().maxCoeff() < 1e-13);
    }
}

}  // namespace layers_ring_attention
