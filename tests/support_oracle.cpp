// The oracle against finite differences and against what the original computed, without the library.

#include <cmath>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include "support/attention_oracle.hpp"
#include "support/compare.hpp"
#include "support/finite_differences.hpp"
#include "support/golden.hpp"
#include "support/inputs.hpp"
#include "support/model_oracle.hpp"

namespace {

using R = long double;
using Values = std::vector<R>;

constexpr double finite_difference_tolerance = 1e-9;

void check_attention_oracle(bool causal) {
    const oracle::AttentionShape shape{2, 1, 5, 3};
    auto q = inputs::normal<R>(shape.size(), 1), k = inputs::normal<R>(shape.size(), 2);
    auto v = inputs::normal<R>(shape.size(), 3), d_output = inputs::normal<R>(shape.size(), 4);
    const auto loss = [&] {
        return support::inner_product(oracle::attention(q, k, v, shape, causal).output, d_output);
    };
    const auto gradient = oracle::attention_backward(d_output, q, k, v, shape, causal);
    CHECK(support::gradient_error(q, gradient.query, loss) < finite_difference_tolerance);
    CHECK(support::gradient_error(k, gradient.key, loss) < finite_difference_tolerance);
    CHECK(support::gradient_error(v, gradient.value, loss) < finite_difference_tolerance);
}

/// Parameters for the shape, none of them 0 or 1.
oracle::Parameters<R> random_parameters(const oracle::ModelShape& s) {
    oracle::Parameters<R> p;
    const auto dense = [&](const std::string& name, std::size_t in, std::size_t out) {
        p[name + ".kernel"] = inputs::normal<R>(in * out, 10 + p.size(), 1 / std::sqrt(double(in)));
        p[name + ".bias"] = inputs::normal<R>(out, 10 + p.size());
    };
    const auto norm = [&](const std::string& name) {
        p[name + ".gamma"] = inputs::normal<R>(s.hidden_size, 10 + p.size());
        p[name + ".beta"] = inputs::normal<R>(s.hidden_size, 10 + p.size());
    };
    if (s.embed_dim != s.hidden_size) dense("input_projection", s.embed_dim, s.hidden_size);
    for (std::size_t i = 1; i <= s.num_layers; ++i) {
        const std::string name = "ring_" + std::to_string(i) + "_";
        norm(name + "attn_norm");
        dense(name + "qkv", s.hidden_size, 3 * s.hidden_size);
        dense(name + "out_proj", s.hidden_size, s.hidden_size);
        norm(name + "ffn_norm");
        dense(name + "ffn_up", s.hidden_size, 4 * s.hidden_size);
        dense(name + "ffn_down", 4 * s.hidden_size, s.hidden_size);
    }
    norm("final_norm");
    return p;
}

oracle::Masks random_masks(const oracle::ModelShape& s) {
    oracle::Masks masks;
    inputs::Numbers numbers(99);
    const auto mask = [&](const std::string& name) {
        for (std::size_t i = 0; i < s.batch * s.seq_len * s.hidden_size; ++i)
            masks["mask." + name].push_back((numbers.uniform() + 1) / 2 >= s.dropout);
    };
    for (std::size_t i = 1; i <= s.num_layers; ++i) {
        mask("ring_" + std::to_string(i) + "_attn_dropout");
        mask("ring_" + std::to_string(i) + "_ffn_dropout");
        if (i < s.num_layers) mask("inter_block_dropout_" + std::to_string(i));
    }
    return masks;
}

void check_model_oracle(const oracle::ModelShape& shape, const oracle::Masks& masks) {
    auto parameters = random_parameters(shape);
    auto input = inputs::normal<R>(shape.batch * shape.seq_len * shape.embed_dim, 5);
    const auto weight = inputs::normal<R>(shape.output_size(), 6);
    const auto loss = [&] {
        return support::inner_product(oracle::SequenceModel<R>(shape, parameters, masks).forward(input),
                                      weight);
    };

    oracle::SequenceModel<R> model(shape, parameters, masks);
    model.forward(input);
    const auto gradient = model.backward(weight);
    REQUIRE(gradient.size() == parameters.size() + 1);
    CHECK(support::gradient_error(input, gradient.at("input"), loss) < finite_difference_tolerance);
    for (auto& [key, values] : parameters) {
        const std::string& name = key;
        CAPTURE(name);
        CHECK(support::gradient_error(values, gradient.at(name), loss) < finite_difference_tolerance);
    }
}

/// 1e-13 for a file of doubles; what single precision leaves of an output, or of a gradient as a part of its
/// largest.
double output_tolerance(const golden::File& file) {
    return file.dtype("input") == "F64" ? 1e-13 : 2e-6;
}
double gradient_tolerance(const golden::File& file) {
    return file.dtype("input") == "F64" ? 1e-13 : 1e-5;
}

void check_golden_model(const std::string& name) {
    CAPTURE(name);
    golden::File file(name);
    auto shape = golden::model_shape(file);
    oracle::SequenceModel<R> model(shape, golden::parameters<R>(file), golden::masks(file));
    const auto input = file.values<R>("input");
    CHECK(compare::largest_difference(model.forward(input), file.values<R>("output")) <
          output_tolerance(file));
    for (const auto& [parameter, values] : model.backward(file.values<R>("loss_weight"))) {
        const std::string tensor = "grad." + parameter;
        CAPTURE(tensor);
        CHECK(compare::relative_difference(values, file.values<R>(tensor)) < gradient_tolerance(file));
    }
    if (!file.has("sequence_output")) return;
    shape.output = oracle::Output::all;
    oracle::SequenceModel<R> sequence(shape, golden::parameters<R>(file));
    CHECK(compare::largest_difference(sequence.forward(input), file.values<R>("sequence_output")) <
          output_tolerance(file));
}

/// The scale is an argument: one original took the square root in single precision.
void check_golden_attention(const std::string& name, R scale, double tolerance) {
    CAPTURE(name);
    golden::File file(name);
    const oracle::AttentionShape shape = golden::attention_shape(file);
    const auto q = file.values<R>("q"), k = file.values<R>("k"), v = file.values<R>("v");
    const auto weight = file.values<R>("loss_weight");
    const auto output = oracle::attention(q, k, v, shape, true, scale).output;
    const auto gradient = oracle::attention_backward(weight, q, k, v, shape, true, scale);
    for (const int chunks : file.options().at("num_chunks_list").get<std::vector<int>>()) {
        const std::string suffix = "_chunks" + std::to_string(chunks);
        CHECK(compare::largest_difference(output, file.values<R>("output" + suffix)) < tolerance);
        CHECK(compare::relative_difference(gradient.query, file.values<R>("grad.q" + suffix)) <
              5 * tolerance);
        CHECK(compare::relative_difference(gradient.key, file.values<R>("grad.k" + suffix)) < 5 * tolerance);
        CHECK(compare::relative_difference(gradient.value, file.values<R>("grad.v" + suffix)) <
              5 * tolerance);
    }
}

}  // namespace

TEST_CASE("oracle: attention has the gradient of finite differences") {
    check_attention_oracle(true);
    check_attention_oracle(false);
}

TEST_CASE("oracle: rows that see nothing but -inf give 0 and -inf") {
    const R infinity = std::numeric_limits<R>::infinity();
    const oracle::AttentionShape shape{1, 1, 2, 1};
    const Values q{1, 1}, k{-infinity, 2}, v{5, 7};
    const auto result = oracle::attention(q, k, v, shape, true, R(1));
    CHECK(result.output == Values{0, 7});
    CHECK(result.log_sum_exp == Values{-infinity, 2});
}

TEST_CASE("oracle: what a query does not see does not reach it, what it sees does") {
    const R nan = std::numeric_limits<R>::quiet_NaN();
    const oracle::AttentionShape shape{1, 1, 3, 2};
    const auto q = inputs::normal<R>(6, 1);
    auto k = inputs::normal<R>(6, 2), v = inputs::normal<R>(6, 3);
    const auto before = oracle::attention(q, k, v, shape, true).output;
    k[4] = v[5] = nan;
    const auto after = oracle::attention(q, k, v, shape, true).output;
    for (std::size_t i = 0; i < 4; ++i) CHECK(after[i] == before[i]);
    for (std::size_t i = 4; i < 6; ++i) CHECK(std::isnan(after[i]));
    CHECK(std::isnan(oracle::attention(q, k, v, shape, false).output[0]));
}

TEST_CASE("oracle: the model has the gradient of finite differences") {
    oracle::ModelShape shape{2, 3, 3, 4, 2, 2, 0.25, oracle::Output::last_timestep};
    check_model_oracle(shape, {});
    check_model_oracle(shape, random_masks(shape));
    shape.output = oracle::Output::mean_pool;
    check_model_oracle(shape, {});
    shape.output = oracle::Output::all;
    shape.embed_dim = shape.hidden_size;
    check_model_oracle(shape, {});
}

TEST_CASE("oracle: the model agrees with the original") {
    for (const char* name :
         {"a_small", "b_noproj", "e_chunks_eq_window", "h_f64_headdim4", "k_train_dropout"})
        check_golden_model(name);
}

TEST_CASE("oracle: attention agrees with the original") {
    check_golden_attention("g_ring_raw_f32", 1 / std::sqrt(R(5)), 2e-6);
    check_golden_attention("g3_ring_raw_f64", 1 / R(std::sqrt(5.0f)), 1e-13);
}
