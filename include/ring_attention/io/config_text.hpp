#pragma once

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include <ring_attention/core/error.hpp>
#include <ring_attention/io/config.hpp>
#include <ring_attention/io/config_difference.hpp>
#include <ring_attention/io/families.hpp>
#include <ring_attention/io/option_list.hpp>
#include <ring_attention/models/transformer_options.hpp>

// From TransformerOptions to the text of a config.json, which versions 5 and 4 of Hugging Face's transformers
// read alike.

namespace ring_attention::inline RING_ATTENTION_ABI::detail {

/// The decimal number that the float was written as, most likely: 1e-05, not 9.99999974e-06.
inline double decimal(float value) {
    return std::strtod(shortest_text(value).c_str(), nullptr);
}

inline const char* activation_name(ActivationKind activation, bool old_name = false) {
    switch (activation) {
        case ActivationKind::gelu_tanh:
            return old_name ? "gelu_new" : "gelu_pytorch_tanh";
        case ActivationKind::silu:
            return "silu";
        case ActivationKind::relu:
            return "relu";
        case ActivationKind::gelu:
            break;
    }
    return "gelu";
}

inline void write_rotary(nlohmann::json& config, const RotaryOptions& rotary) {
    nlohmann::json settings{{"rope_theta", decimal(rotary.base)}, {"rope_type", "default"}};
    if (rotary.scaling != RotaryScaling::none) settings["factor"] = decimal(rotary.factor);
    if (rotary.scaling == RotaryScaling::linear) settings["rope_type"] = "linear";
    if (rotary.scaling == RotaryScaling::llama3) {
        settings["rope_type"] = "llama3";
        settings["low_freq_factor"] = decimal(rotary.low_frequency_factor);
        settings["high_freq_factor"] = decimal(rotary.high_frequency_factor);
        settings["original_max_position_embeddings"] = rotary.original_positions;
        const double positions = std::round(double(rotary.original_positions) * double(rotary.factor));
        config["max_position_embeddings"] = positions < 2e9 ? int(positions) : rotary.original_positions;
    }
    config["rope_parameters"] = settings;
    config["rope_theta"] = decimal(rotary.base);
    if (rotary.scaling != RotaryScaling::none) {
        settings.erase("rope_theta");
        config["rope_scaling"] = settings;
    }
}

inline void write_windows(nlohmann::json& config, Family family, const TransformerOptions& options) {
    if (family == Family::llama) return;
    config["sliding_window"] = options.window > 0 ? nlohmann::json(options.window) : nlohmann::json(nullptr);
    if (family == Family::mistral) return;
    auto types = nlohmann::json::array();
    for (int i = 0; i < options.num_layers; ++i)
        types.push_back(layer_has_window(options, i) ? "sliding_attention" : "full_attention");
    config["layer_types"] = types;
    if (family == Family::gemma2) return;
    config["use_sliding_window"] = options.window > 0;
    config["max_window_layers"] = options.window > 0 ? options.full_attention_first : options.num_layers;
}

inline void write_llama_like(nlohmann::json& config, Family family, const TransformerOptions& options) {
    config["num_key_value_heads"] = options.key_value_heads;
    config["head_dim"] = options.head_width;
    config["rms_norm_eps"] = decimal(options.norm_epsilon);
    config["attention_dropout"] = 0.0;
    write_rotary(config, options.rotary);
    write_windows(config, family, options);
    if (family != Family::mistral && family != Family::qwen2) config["attention_bias"] = options.out_bias;
    if (family == Family::llama) config["mlp_bias"] = options.ffn_bias;
    if (family != Family::gemma2) {
        config["hidden_act"] = activation_name(options.activation);
        return;
    }
    config["hidden_activation"] = activation_name(options.activation);
    const auto number_or_null = [](float value) {
        return value > 0 ? nlohmann::json(decimal(value)) : nlohmann::json(nullptr);
    };
    config["attn_logit_softcapping"] = number_or_null(options.softcap);
    config["final_logit_softcapping"] = number_or_null(options.final_softcap);
    const double width_of_scale = std::round(1 / (double(options.scale) * double(options.scale)));
    config["query_pre_attn_scalar"] = width_of_scale < 2e9 ? int(width_of_scale) : options.head_width;
}

inline void write_gpt2(nlohmann::json& config, const TransformerOptions& options, double dropout) {
    config["n_embd"] = options.hidden_size;
    config["n_layer"] = options.num_layers;
    config["n_head"] = options.num_heads;
    config["n_positions"] = std::max(1, options.max_positions);
    config["n_inner"] = options.ffn_width;
    config["layer_norm_epsilon"] = decimal(options.norm_epsilon);
    config["activation_function"] = activation_name(options.activation, true);
    config["scale_attn_weights"] = options.scale != 1 || options.head_width == 1;
    config["resid_pdrop"] = dropout;
    for (const char* key : {"embd_pdrop", "attn_pdrop"}) config[key] = 0.0;
}

inline void write_bert(nlohmann::json& config, const TransformerOptions& options, double dropout) {
    config["layer_norm_eps"] = decimal(options.norm_epsilon);
    config["hidden_act"] = activation_name(options.activation);
    config["max_position_embeddings"] = std::max(1, options.max_positions);
    config["type_vocab_size"] = std::max(1, options.token_types);
    config["is_decoder"] = options.causal;
    config["hidden_dropout_prob"] = dropout;
    config["attention_probs_dropout_prob"] = 0.0;
}

/// The config of the model of this family that is most like the options.
inline nlohmann::json config_of(const TransformerOptions& given, const FamilyTable& table) {
    const TransformerOptions options = spelt_out(given);
    nlohmann::json config{{"model_type", table.model_type}, {"vocab_size", options.vocabulary}};
    config["architectures"] = nlohmann::json::array({std::string(table.architecture)});
    config["tie_word_embeddings"] = options.tied_head || !options.head;
    if (table.family == Family::gpt2) {
        write_gpt2(config, options, decimal(given.dropout));
        return config;
    }
    config["hidden_size"] = options.hidden_size;
    config["intermediate_size"] = options.ffn_width;
    config["num_hidden_layers"] = options.num_layers;
    config["num_attention_heads"] = options.num_heads;
    config["pad_token_id"] =
        given.padding_token >= 0 ? nlohmann::json(given.padding_token) : nlohmann::json(nullptr);
    if (table.family == Family::bert)
        write_bert(config, options, decimal(given.dropout));
    else
        write_llama_like(config, table.family, options);
    return config;
}

struct PublishedConfig {
    Family family;
    nlohmann::json config;
};

/// The first family that has such models, and their config. Throws Error, which names the option that none
/// has.
inline PublishedConfig config_of(const TransformerOptions& options) {
    if (options.vocabulary <= 0)
        throw Error("the model starts from vectors, expected one of tokens: no other is published");
    std::vector<OptionDifference> nearest;
    std::string nearest_type;
    for (const FamilyTable& table : families) {
        const nlohmann::json config = config_of(options, table);
        try {
            const auto found = differences(options_of_config(ConfigObject("", config)), options);
            if (found.empty()) return {table.family, config};
            if (!nearest.empty() && nearest.size() <= found.size()) continue;
            nearest = found;
            nearest_type = table.model_type;
        } catch (const FileError&) {
            continue;  // no model of this family at all
        }
    }
    throw Error("the model is of no family that is published" +
                (nearest.empty() ? ": none has its widths"
                                 : ", " + nearest[0].option + " is " + nearest[0].second + ", expected " +
                                       nearest[0].first + " as models of type " + nearest_type + " have it"));
}

}  // namespace ring_attention::inline RING_ATTENTION_ABI::detail
