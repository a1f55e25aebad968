#include <string>

#include <doctest/doctest.h>

#include <ring_attention/io/config_text.hpp>

#include "support/family_options.inc"

namespace io_config_text {

namespace {

namespace detail = ra::detail;

void check_refused(const ra::TransformerOptions& options, const std::string& expected) {
    CHECK_THROWS_WITH_AS(detail::config_of(options), doctest::Contains(expected.c_str()), ra::Error);
}

/// The config is of this family, and the options that it makes are those that it was made from.
void check_family(const char* model_type, const ra::TransformerOptions& options) {
    CAPTURE(model_type);
    const detail::PublishedConfig published = detail::config_of(options);
    CHECK(published.config.at("model_type") == model_type);
    CHECK(published.family == detail::find_family(model_type)->family);
    const std::string text = published.config.dump(2);
    CHECK(detail::differences(detail::options_of_config(text), options).empty());
}

}  // namespace

TEST_CASE("options are written as a config of their family, which is read as the same options") {
    check_family("bert", bert);
    check_family("gemma2", gemma2);
    check_family("gpt2", gpt2);
    check_family("llama", llama);
    check_family("llama", llama3);
    check_family("mistral", mistral);
    check_family("qwen2", qwen2);
    check_family("qwen3", qwen3);
}

TEST_CASE("variants of a family are written and read as well") {
    ra::TransformerOptions options = llama;
    options.qkv_bias = options.out_bias = options.ffn_bias = options.tied_head = true;
    options.rotary.scaling = ra::RotaryScaling::linear;
    options.rotary.factor = 2.5f;
    options.norm_epsilon = 3e-7f;
    options.activation = ra::ActivationKind::gelu;
    check_family("llama", options);
    options = qwen3;
    options.num_layers = 5;
    options.window = 9;
    options.full_attention_first = 2;
    options.qkv_bias = options.out_bias = true;
    check_family("qwen3", options);
    options.full_attention_first = 0;
    options.full_attention_every = 3;
    check_family("qwen3", options);
    options = gemma2;
    options.num_layers = 6;
    options.full_attention_every = 6;
    options.softcap = options.final_softcap = 0;
    options.scale = float(1 / 12.0);
    options.tied_head = false;
    check_family("gemma2", options);
    options = gpt2;
    options.scale = 1;
    options.ffn_width = 50;
    options.tied_head = false;
    options.activation = ra::ActivationKind::relu;
    check_family("gpt2", options);
    options = bert;
    options.causal = true;
    options.activation = ra::ActivationKind::gelu_tanh;
    check_family("bert", options);
}

TEST_CASE("numbers are written as they were, not as the nearest double to a float") {
    CHECK(detail::config_of(bert).config.at("layer_norm_eps").dump() == "1e-12");
    CHECK(detail::config_of(qwen2).config.at("rope_theta").dump() == "1000000.0");
    CHECK(detail::config_of(gemma2).config.at("query_pre_attn_scalar").dump() == "16");
}

TEST_CASE("versions 5 and 4 find the settings of rotary positions where they look for them") {
    const nlohmann::json config = detail::config_of(llama3).config;
    CHECK(config.at("rope_theta") == 500'000);
    CHECK(config.at("rope_parameters").at("rope_theta") == 500'000);
    for (const char* key : {"rope_parameters", "rope_scaling"}) {
        CHECK(config.at(key).at("rope_type") == "llama3");
        CHECK(config.at(key).at("factor") == 8);
        CHECK(config.at(key).at("original_max_position_embeddings") == 32);
    }
    CHECK_FALSE(detail::config_of(llama).config.contains("rope_scaling"));
}

TEST_CASE("dropout is written where training looks for it") {
    ra::TransformerOptions options = gpt2;
    options.dropout = 0.1f;
    CHECK(detail::config_of(options).config.at("resid_pdrop").dump() == "0.1");
    CHECK(detail::config_of(options).config.at("attn_pdrop") == 0);
    options = bert;
    options.dropout = 0.25f;
    CHECK(detail::config_of(options).config.at("hidden_dropout_prob") == 0.25);
}

TEST_CASE("the token whose embedding has no gradient is written") {
    ra::TransformerOptions options = bert;
    CHECK(detail::config_of(options).config.at("pad_token_id") == 0);
    options.padding_token = -1;
    CHECK(detail::config_of(options).config.at("pad_token_id").is_null());
}

TEST_CASE("a model of no published family is refused by the option that none has") {
    check_refused({.embed_dim = 8}, "the model starts from vectors, expected one of tokens");
    ra::TransformerOptions options = llama;
    options.sinks = true;
    check_refused(options, "sinks is true, expected false as models of type llama have it");
    options = llama;
    options.rotary.pairs = ra::RotaryPairs::interleaved;
    check_refused(options, "rotary.pairs is RotaryPairs::interleaved, expected RotaryPairs::half_split");
    options = gpt2;
    options.positions = ra::Positions::sinusoidal;
    check_refused(options,
                  "positions is Positions::sinusoidal, expected Positions::learned as models of type gpt2");
    options = qwen3;
    options.scale = 0.5f;
    check_refused(options, "scale is 0.5, expected 0.35355338 as models of type qwen3 have it");
}

}  // namespace io_config_text
