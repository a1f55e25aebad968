#include <string>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

#include <ring_attention/io/config.hpp>
#include <ring_attention/io/config_difference.hpp>

namespace io_config {

namespace ra = ring_attention;

namespace {

/// The options of a config of the family with these settings beside the model_type.
ra::TransformerOptions options_of(const std::string& model_type, const std::string& settings = "") {
    return ra::detail::options_of_config(R"({"model_type": ")" + model_type + "\"" +
                                         (settings.empty() ? "" : ", " + settings) + "}");
}

void check_refused(const std::string& model_type, const std::string& settings, const std::string& expected) {
    CAPTURE(settings);
    CHECK_THROWS_WITH_AS(options_of(model_type, settings),
                         doctest::Contains(("config.json: " + expected).c_str()), ra::FileError);
}

const std::string two_layers = R"("num_hidden_layers": 2)";

}  // namespace

TEST_CASE("what a config does not say is as Hugging Face has it") {
    const ra::TransformerOptions llama = options_of("llama");
    CHECK(llama.vocabulary == 32'000);
    CHECK(llama.hidden_size == 4096);
    CHECK(llama.ffn_width == 11'008);
    CHECK(llama.num_layers == 32);
    CHECK(llama.num_heads == 32);
    CHECK(llama.key_value_heads == 0);
    CHECK(llama.head_width == 0);
    CHECK(llama.norm_epsilon == 1e-6f);
    CHECK(llama.rotary.base == 10'000);
    CHECK(llama.window == 0);
    CHECK_FALSE(llama.tied_head);
    const ra::TransformerOptions mistral = options_of("mistral");
    CHECK(mistral.key_value_heads == 8);
    CHECK(mistral.ffn_width == 14'336);
    CHECK(mistral.window == 4096);
    const ra::TransformerOptions qwen2 = options_of("qwen2");
    CHECK(qwen2.vocabulary == 151'936);
    CHECK(qwen2.qkv_bias);
    CHECK_FALSE(qwen2.out_bias);
    CHECK(qwen2.window == 0);
    const ra::TransformerOptions qwen3 = options_of("qwen3");
    CHECK(qwen3.head_width == 128);
    CHECK(qwen3.query_key_norm);
    CHECK_FALSE(qwen3.qkv_bias);
    const ra::TransformerOptions gemma2 = options_of("gemma2");
    CHECK(gemma2.vocabulary == 256'000);
    CHECK(gemma2.head_width == 256);
    CHECK(gemma2.window == 4096);
    CHECK(gemma2.full_attention_every == 2);
    CHECK(gemma2.softcap == 50);
    CHECK(gemma2.final_softcap == 30);
    CHECK(gemma2.scale == 0);
    CHECK(gemma2.embedding_scale == 48);
    CHECK(gemma2.tied_head);
    CHECK(gemma2.activation == ra::ActivationKind::gelu_tanh);
    const ra::TransformerOptions gpt2 = options_of("gpt2");
    CHECK(gpt2.vocabulary == 50'257);
    CHECK(gpt2.hidden_size == 768);
    CHECK(gpt2.ffn_width == 0);
    CHECK(gpt2.max_positions == 1024);
    CHECK(gpt2.norm_epsilon == 1e-5f);
    CHECK(gpt2.tied_head);
    const ra::TransformerOptions bert = options_of("bert");
    CHECK(bert.vocabulary == 30'522);
    CHECK(bert.max_positions == 512);
    CHECK(bert.token_types == 2);
    CHECK(bert.norm_epsilon == 1e-12f);
    CHECK_FALSE(bert.causal);
}

TEST_CASE("settings are read") {
    CHECK(options_of("llama", R"("num_key_value_heads": 4)").key_value_heads == 4);
    CHECK(options_of("llama", R"("num_key_value_heads": null, "head_dim": null)").key_value_heads == 0);
    CHECK(options_of("mistral", R"("num_key_value_heads": null)").key_value_heads == 0);
    CHECK(options_of("qwen3", R"("head_dim": null)").head_width == 0);
    CHECK(options_of("qwen2", R"("head_dim": 64)").head_width == 64);
    CHECK(options_of("llama", R"("attention_bias": true)").qkv_bias);
    CHECK(options_of("llama", R"("attention_bias": true)").out_bias);
    CHECK(options_of("llama", R"("mlp_bias": true)").ffn_bias);
    CHECK(options_of("llama", R"("tie_word_embeddings": true)").tied_head);
    CHECK(options_of("llama", R"("hidden_act": "gelu")").activation == ra::ActivationKind::gelu);
    CHECK(options_of("gemma2", R"("query_pre_attn_scalar": 144)").scale == float(1 / 12.0));
    CHECK(options_of("gemma2", R"("attn_logit_softcapping": null)").softcap == 0);
    CHECK(options_of("gemma2", R"("final_logit_softcapping": null)").final_softcap == 0);
    CHECK(options_of("gemma2", R"("hidden_act": "relu")").activation == ra::ActivationKind::gelu_tanh);
    CHECK(options_of("gpt2", R"("n_inner": 100)").ffn_width == 100);
    CHECK(options_of("gpt2", R"("n_inner": null, "n_embd": 36, "n_head": 3)").hidden_size == 36);
    CHECK(options_of("gpt2", R"("num_hidden_layers": 3)").num_layers == 3);
    CHECK(options_of("gpt2", R"("scale_attn_weights": false)").scale == 1);
    CHECK(options_of("bert", R"("is_decoder": true)").causal);
    CHECK(options_of("bert", R"("position_embedding_type": "absolute")").max_positions == 512);
    CHECK(options_of("llama", R"("quantization_config": null, "pretraining_tp": 2, "attention_dropout": 0.5)")
              .dropout == 0);
}

TEST_CASE("the token whose embedding has no gradient") {
    for (const std::string family : {"gemma2", "bert"}) {
        CHECK(options_of(family).padding_token == 0);
        CHECK(options_of(family, R"("pad_token_id": null)").padding_token == -1);
    }
    CHECK(options_of("llama").padding_token == -1);
    CHECK(options_of("llama", R"("pad_token_id": 2)").padding_token == 2);
    CHECK(options_of("llama", R"("pad_token_id": -1, "vocab_size": 7)").padding_token == 6);
    CHECK(options_of("gpt2", R"("pad_token_id": 2)").padding_token ==
          -1);  // transformers' has a gradient too
    check_refused("llama", R"("pad_token_id": 7, "vocab_size": 7)", "pad_token_id is 7");
    // Models that differ in it are one model: what it gives is the same.
    CHECK(ra::detail::differences(options_of("bert"), options_of("bert", R"("pad_token_id": null)")).empty());
}

TEST_CASE("rotary positions are read as versions 5 and 4 write them") {
    using ra::RotaryScaling;
    CHECK(options_of("llama", R"("rope_theta": 5e5)").rotary.base == 500'000);
    CHECK(options_of("llama", R"("rope_theta": 500000, "rope_scaling": null)").rotary.base == 500'000);
    CHECK(options_of("llama", R"("rope_parameters": {"rope_theta": 7.5, "rope_type": "default"})")
              .rotary.base == 7.5f);
    CHECK(options_of("llama", R"("rope_parameters": {}, "rope_theta": 3)").rotary.base == 3);
    const auto linear =
        options_of("llama", R"("rope_theta": 9, "rope_scaling": {"type": "linear", "factor": 2})");
    CHECK(linear.rotary.base == 9);
    CHECK(linear.rotary.scaling == RotaryScaling::linear);
    CHECK(linear.rotary.factor == 2);
    const std::string llama3 = R"("rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.5,
                                  "high_freq_factor": 5.0, "original_max_position_embeddings": 32)";
    for (const std::string& settings : {R"("rope_theta": 9.0, "rope_scaling": {)" + llama3 + "}",
                                        R"("rope_parameters": {"rope_theta": 9.0, )" + llama3 + "}"}) {
        const ra::RotaryOptions rotary = options_of("llama", settings).rotary;
        CHECK(rotary.on);
        CHECK(rotary.base == 9);
        CHECK(rotary.scaling == RotaryScaling::llama3);
        CHECK(rotary.factor == 8);
        CHECK(rotary.low_frequency_factor == 1.5f);
        CHECK(rotary.high_frequency_factor == 5);
        CHECK(rotary.original_positions == 32);
    }
    const std::string short_llama3 =
        R"("rope_scaling": {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0})";
    CHECK(
        options_of("llama", short_llama3 + R"(, "max_position_embeddings": 64)").rotary.original_positions ==
        64);
    check_refused("llama", short_llama3, "original_max_position_embeddings is missing");
}

TEST_CASE("rotary positions that the library has not are refused by name") {
    const auto check = [](const std::string& rotary, const std::string& expected) {
        for (const std::string key : {"rope_scaling", "rope_parameters"})
            check_refused("qwen2", "\"" + key + "\": " + rotary, expected);
    };
    check(R"({"rope_type": "yarn", "factor": 4})",
          "rope_type is \"yarn\", expected default, linear or llama3");
    check(R"({"type": "dynamic", "factor": 4})", "type is \"dynamic\", expected default, linear or llama3");
    check(R"({"rope_type": "longrope"})", "rope_type is \"longrope\"");
    check(R"({"rope_type": "linear"})", "factor is missing, expected a number above 0");
    check(R"({"rope_type": "linear", "factor": 0})", "factor is 0, expected a number above 0");
    check(R"({"rope_theta": -1})", "rope_theta is -1, expected a number above 0");
    check(R"({"partial_rotary_factor": 0.5})", "partial_rotary_factor is 0.5, expected 1");
    check(R"({"full_attention": {"rope_theta": 1}})", "rope_");
    check(R"("linear")", "rope_");
    check_refused("llama", R"("partial_rotary_factor": 0.5)", "partial_rotary_factor is 0.5, expected 1");
    check_refused("llama", R"("rope_scaling": {"rope_type": "llama3", "factor": 8})",
                  "low_freq_factor is missing");
    check_refused("llama", R"("hidden_size": 12, "num_attention_heads": 4)", "a head has a width of 3");
}

TEST_CASE("windows are read by layer") {
    const auto windows = [](const std::string& model_type, const std::string& settings) {
        const ra::TransformerOptions options = options_of(model_type, settings);
        std::string text;
        for (int i = 0; i < options.num_layers; ++i)
            text += ra::detail::layer_has_window(options, i) ? std::to_string(options.window) : "-";
        return text;
    };
    CHECK(windows("mistral", R"("num_hidden_layers": 2, "sliding_window": 5)") == "55");
    CHECK(windows("mistral", R"("num_hidden_layers": 2, "sliding_window": null)") == "--");
    CHECK(windows("llama", R"("num_hidden_layers": 2, "sliding_window": 5)") == "--");
    const std::string qwen = R"("num_hidden_layers": 4, "sliding_window": 5, "max_window_layers": 3)";
    CHECK(windows("qwen2", qwen) == "----");
    CHECK(windows("qwen2", qwen + R"(, "use_sliding_window": true)") == "---5");
    CHECK(windows("qwen3", qwen + R"(, "use_sliding_window": true, "layer_types": ["sliding_attention",
        "full_attention", "sliding_attention", "full_attention"])") == "5-5-");
    CHECK(windows("gemma2", R"("num_hidden_layers": 5, "sliding_window": 7)") == "7-7-7");
    CHECK(windows("gemma2",
                  R"("num_hidden_layers": 2, "layer_types": ["full_attention", "full_attention"])") == "--");
}

TEST_CASE("windows that the library has not are refused by name") {
    const auto types = [](const std::string& list) {
        return R"("num_hidden_layers": 3, "layer_types": )" + list;
    };
    check_refused("gemma2", types(R"(["sliding_attention", "full_attention", "full_attention"])"),
                  "layer_types is [\"sliding_attention\",\"full_attention\",\"full_attention\"], expected");
    check_refused("gemma2", types(R"(["sliding_attention"])"),
                  "layer_types is [\"sliding_attention\"], expected a");
    check_refused("gemma2", types(R"(["sliding_attention", "full_attention", "chunked_attention"])"),
                  "layer_types has \"chunked_attention\", expected full_attention or sliding_attention");
    check_refused("gemma2", two_layers + R"(, "sliding_window": null)",
                  "sliding_window is null, expected a window");
    check_refused("gemma2", two_layers + R"(, "sliding_window": 0)",
                  "sliding_window is 0, expected a whole number");
    check_refused("qwen2", types(R"(["sliding_attention", "sliding_attention", "sliding_attention"])"),
                  "use_sliding_window is missing, expected a window");
    check_refused("mistral", types(R"(["sliding_attention", "full_attention", "sliding_attention"])"),
                  "layer_types is");
}

TEST_CASE("models and settings that the library has not are refused by name") {
    check_refused("mamba", "",
                  "model_type is \"mamba\", expected one of llama, mistral, qwen2, qwen3, gemma2, gpt2");
    CHECK_THROWS_WITH_AS(ra::detail::options_of_config("{}"), doctest::Contains("model_type is missing"),
                         ra::FileError);
    check_refused("llama", R"("quantization_config": {"bits": 4})",
                  "quantization_config is {\"bits\":4}, expected null");
    check_refused("llama", R"("pruned_heads": {"1": [0]})", "pruned_heads is");
    check_refused("llama", R"("hidden_act": "quick_gelu")",
                  "hidden_act is \"quick_gelu\", expected silu, gelu");
    check_refused("gemma2", R"("hidden_activation": "tanh")", "hidden_activation is \"tanh\"");
    check_refused("gemma2", R"("use_bidirectional_attention": true)", "use_bidirectional_attention is true");
    check_refused("gpt2", R"("activation_function": "mish")", "activation_function is \"mish\"");
    check_refused("gpt2", R"("scale_attn_by_inverse_layer_idx": true)",
                  "scale_attn_by_inverse_layer_idx is true, expected false");
    check_refused("gpt2", R"("add_cross_attention": true)", "add_cross_attention is true, expected false");
    check_refused("bert", R"("position_embedding_type": "relative_key")",
                  "position_embedding_type is \"relative_key\", expected \"absolute\"");
    for (const std::string family : {"llama", "mistral", "qwen2", "qwen3", "gemma2", "gpt2"}) {
        check_refused(family, R"("is_causal": false, "num_attention_heads": 32)",
                      "is_causal is false, expected true");
        CHECK(options_of(family, R"("is_causal": true, "num_attention_heads": 32)").causal);
    }
    check_refused("bert", R"("is_causal": true)", "is_causal is true, expected false");
    check_refused("bert", R"("is_decoder": true, "is_causal": false)", "is_causal is false, expected true");
    check_refused("bert", R"("is_encoder_decoder": true)", "is_encoder_decoder is true");
}

TEST_CASE("a setting of the wrong type or size is refused") {
    check_refused("llama", R"("hidden_size": "24")",
                  "hidden_size is \"24\", expected a whole number of at least 1");
    for (const std::string given : {"0", "-3", "2.5", "null", "true", "[]", "3000000000", "1e3"})
        check_refused("llama", R"("hidden_size": )" + given, "hidden_size is ");
    check_refused("llama", R"("num_hidden_layers": 1000000)",
                  "num_hidden_layers is 1000000, expected a whole number "
                  "of at least 1, at most 10000");
    for (const std::string given : {"0", "-1", "\"1\"", "null", "1e-60", "1e60"})
        check_refused("llama", R"("rms_norm_eps": )" + given, "rms_norm_eps is ");
    check_refused("llama", R"("tie_word_embeddings": 1)", "tie_word_embeddings is 1, expected true or false");
    check_refused("llama", R"("hidden_act": 1)", "hidden_act is 1, expected a string");
    check_refused("llama", R"("num_key_value_heads": 5)",
                  "num_key_value_heads is 5, expected a number that divides num_attention_heads, 32");
    check_refused("llama", R"("num_attention_heads": 7)",
                  "the width of a token is 4096 and there are 7 heads");
    check_refused("gpt2", R"("n_head": 7)", "the width of a token is 768 and there are 7 heads");
    check_refused("bert", R"("model_type": "bert")", "has the name \"model_type\" twice");
}

TEST_CASE("the first option in which a config and a model differ is named, as the config says it") {
    const auto check = [](const std::string& config, const ra::TransformerOptions& options,
                          const std::string& expected) {
        const nlohmann::json object = nlohmann::json::parse(config);
        CHECK_THROWS_WITH_AS(ra::detail::require_options({"config.json", object}, options),
                             doctest::Contains(expected.c_str()), ra::FileError);
    };
    const std::string llama = R"({"model_type": "llama", "hidden_size": 24, "num_attention_heads": 6,
        "rope_parameters": {"rope_theta": 500000.0, "rope_type": "default"}})";
    const ra::TransformerOptions same = ra::detail::options_of_config(llama);
    CHECK_NOTHROW(ra::detail::require_options({"", nlohmann::json::parse(llama)}, same));
    ra::TransformerOptions other = same;
    other.num_heads = 4;
    other.num_layers = 1;
    check(llama, other, "config.json: num_attention_heads is 6, the model's options say 4");
    other = same;
    other.vocabulary = 61;
    check(llama, other, "the model_type llama, which makes vocabulary 32000, the model's options say 61");
    other = same;
    other.norm = ra::NormKind::layer;
    check(llama, other,
          "the model_type llama, which makes norm NormKind::rms, the model's options say NormKind::layer");
    other = same;
    other.rotary.base = 10'000;
    check(llama, other,
          "rope_theta is 500000.0, which makes rotary.base 500000, the model's options say 10000");
    const std::string gemma2 = R"({"model_type": "gemma2", "query_pre_attn_scalar": 16})";
    other = ra::detail::options_of_config(gemma2);
    other.scale = 0.5f;
    check(gemma2, other, "query_pre_attn_scalar is 16, which makes scale 0.25, the model's options say 0.5");
}

}  // namespace io_config
