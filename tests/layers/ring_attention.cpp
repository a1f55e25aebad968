#include <doctest/doctest.h>

#include <ring_attention/attention/operator.hpp>
#include <ring_attention/layers/ring_attention.hpp>

#include "support/layer_case.hpp"
#include "support/tensors.hpp"

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

/// out_proj(attention(qkv(x))), by the operator.
template <class L>
Eigen::MatrixXd by_operator(const L& layer, const Eigen::MatrixXd& x, ra::Index batch,
                            const ra::AttentionOptions& options, bool sinks) {
    const Eigen::MatrixXd qkv = (x * layer.qkv.kernel).rowwise() + layer.qkv.bias;
    const ra::Index width = L::head_width;
    ra::Tensor<double, 1> sink(L::heads);
    ra::AttentionTerms<double> terms;
    if (sinks) {
        std::copy_n(layer.sinks.data(), L::heads, sink.data());
        terms.sinks = &sink;
    }
    const auto mixed =
        ra::attention<double>(
            heads_of(qkv, 0, batch, L::heads, width),
            heads_of(qkv, L::heads * width, batch, L::key_value_heads, width),
            heads_of(qkv, (L::heads + L::key_value_heads) * width, batch, L::key_value_heads, width), options,
            terms)
            .output;
    Eigen::MatrixXd merged(x.rows(), L::heads * width);
    const ra::Index tokens = x.rows() / batch;
    for (ra::Index row = 0; row < x.rows(); ++row)
        for (ra::Index i = 0; i < merged.cols(); ++i)
            merged(row, i) = mixed(row / tokens, i / width, row % tokens, i % width);
    return (merged * layer.out_proj.kernel).rowwise() + layer.out_proj.bias;
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
        CHECK((layer.forward(x, nullptr, pass) - by_operator(layer, x, batch, of_operator, options.sinks))
                  .cwiseAbs()
                  .maxCoeff() < 1e-13);
    }
}

}  // namespace

TEST_CASE("ring attention layer: it is the operator between two Dense layers, whatever its options") {
    check_against_operator<plain>({});
    check_against_operator<everything>({.window = 3, .scale = double(0.7f), .softcap = 1.5});
    check_against_operator<multi_query>({.causal = false});
    check_against_operator<all_near>({.causal = false, .window = 2});
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
