#pragma once

#include <cmath>
#include <cstddef>
#include <filesystem>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include <ring_attention/io/config_object.hpp>
#include <ring_attention/io/families.hpp>
#include <ring_attention/io/file_message.hpp>
#include <ring_attention/io/json_file.hpp>
#include <ring_attention/io/option_list.hpp>
#include <ring_attention/models/transformer_options.hpp>

// From the config.json of a published model to TransformerOptions. What a config does not say is what Hugging
// Face's transformers 5 takes then; settings are read as versions 5 and 4 write them.

namespace ring_attention::inline RING_ATTENTION_ABI::detail {

/// A setting that changes the model has to be `plain` here, or not be there.
inline void require_plain(const ConfigObject& config, std::string_view key, const nlohmann::json& plain) {
    if (config.has(key) && *config.find(key) != plain)
        config.refuse(key, printable(plain.dump()) + ", since the library has nothing else");
}

inline ActivationKind activation_of(const ConfigObject& config, std::string_view key,
                                    const std::string& if_missing) {
    const std::string name = config.text(key, if_missing);
    if (name == "silu" || name == "swish") return ActivationKind::silu;
    if (name == "gelu" || name == "gelu_python") return ActivationKind::gelu;
    if (name == "relu") return ActivationKind::relu;
    // One function under the names of its implementations.
    for (const char* tanh :
         {"gelu_new", "gelu_pytorch_tanh", "gelu_python_tanh", "gelu_fast", "gelu_accurate"})
        if (name == tanh) return ActivationKind::gelu_tanh;
    config.refuse(key, "silu, gelu, gelu_new, gelu_pytorch_tanh or relu");
}

/// The settings of rotary positions are together under rope_parameters or, as version 4 writes them, under
/// rope_scaling, but for rope_theta. An empty object where there is none.
inline ConfigObject rotary_settings(const ConfigObject& config) {
    static const nlohmann::json nothing = nlohmann::json::object();
    for (const char* key : {"rope_scaling", "rope_parameters"}) {
        if (!config.has(key) || config.find(key)->empty()) continue;
        if (!config.find(key)->is_object()) config.refuse(key, "an object");
        return {config.path(), *config.find(key)};
    }
    return {config.path(), nothing};
}

inline RotaryOptions rotary_of(const ConfigObject& config) {
    const ConfigObject settings = rotary_settings(config);
    for (const char* layers : {"full_attention", "sliding_attention"})
        if (settings.has(layers))
            config.refuse(config.has("rope_scaling") ? "rope_scaling" : "rope_parameters",
                          "the same for all layers");
    for (const ConfigObject& object : {config, settings})
        if (object.has("partial_rotary_factor") && object.positive("partial_rotary_factor", 1) != 1)
            object.refuse("partial_rotary_factor", "1, since the library turns whole heads");

    RotaryOptions rotary{.on = true};
    rotary.base = float(settings.positive("rope_theta", config.positive("rope_theta", 10'000)));
    const char* key = settings.find("rope_type") != nullptr ? "rope_type" : "type";
    const std::string type = settings.text(key, "default");
    if (type == "default") return rotary;
    if (type != "linear" && type != "llama3") settings.refuse(key, "default, linear or llama3");
    if (!settings.has("factor")) settings.refuse("factor", "a number above 0");
    rotary.factor = float(settings.positive("factor", 1));
    rotary.scaling = RotaryScaling::linear;
    if (type == "linear") return rotary;

    rotary.scaling = RotaryScaling::llama3;
    for (const char* needed : {"low_freq_factor", "high_freq_factor"})
        if (!settings.has(needed)) settings.refuse(needed, "a number above 0");
    rotary.low_frequency_factor = float(settings.positive("low_freq_factor", 1));
    rotary.high_frequency_factor = float(settings.positive("high_freq_factor", 4));
    if (rotary.low_frequency_factor >= rotary.high_frequency_factor)
        settings.refuse("low_freq_factor", "less than the high_freq_factor");
    const char* original = "original_max_position_embeddings";
    if (config.has(original))
        rotary.original_positions = config.whole(original, 0);
    else if (settings.has(original))
        rotary.original_positions = settings.whole(original, 0);
    else if (config.has("max_position_embeddings"))
        rotary.original_positions = config.whole("max_position_embeddings", 0);
    else
        settings.refuse(original, "a whole number of at least 1");
    return rotary;
}

/// Which layers see the last tokens alone, where config.json does not list them.
inline std::vector<bool> usual_windows(const ConfigObject& config, Family family, int num_layers,
                                       bool has_window) {
    std::vector<bool> windows(std::size_t(num_layers), has_window && family != Family::llama);
    if (family == Family::qwen2 || family == Family::qwen3) {
        const int full = config.whole("max_window_layers", 28, 0);
        for (int i = 0; i < num_layers && i < full; ++i) windows[std::size_t(i)] = false;
    }
    if (family == Family::gemma2)
        for (int i = 0; i < num_layers; ++i) windows[std::size_t(i)] = i % 2 == 0;
    return windows;
}

inline std::vector<bool> listed_windows(const ConfigObject& config, int num_layers) {
    const nlohmann::json& listed = *config.find("layer_types");
    if (!listed.is_array() || listed.size() != std::size_t(num_layers))
        config.refuse("layer_types", "a list of " + std::to_string(num_layers) + ", one for each layer");
    std::vector<bool> windows;
    for (const nlohmann::json& type : listed) {
        if (type != "full_attention" && type != "sliding_attention")
            refuse_file(config.path(), "layer_types has " + printable(type.dump()) +
                                           ", expected full_attention or sliding_attention");
        windows.push_back(type == "sliding_attention");
    }
    return windows;
}

inline void read_windows(const ConfigObject& config, Family family, TransformerOptions& options) {
    const bool is_qwen = family == Family::qwen2 || family == Family::qwen3;
    const bool is_on = family != Family::llama && !config.is_null("sliding_window") &&
                       (!is_qwen || config.flag("use_sliding_window", false));
    std::vector<bool> windows = usual_windows(config, family, options.num_layers, is_on);
    if (config.has("layer_types")) {
        const std::vector<bool> listed = listed_windows(config, options.num_layers);
        if ((family == Family::llama || family == Family::mistral) && listed != windows)
            config.refuse("layer_types", "the same for all layers, as the other settings of the model say");
        windows = listed;
    }
    const auto full = full_attention_of(windows);
    if (!full) config.refuse("layer_types", "full_attention in so many layers at first, or so many apart");
    if (full->first == options.num_layers) return;
    if (!is_on)
        config.refuse(is_qwen && !config.is_null("sliding_window") ? "use_sliding_window" : "sliding_window",
                      "a window, since layer_types has sliding_attention");
    options.window = config.whole("sliding_window", 4096);
    options.full_attention_every = full->every;
    options.full_attention_first = full->first;
}

/// Of the token whose embedding has no gradient, -1 where there is none. As in Hugging Face's transformers
/// one below 0 is counted from the end.
inline int padding_token_of(const ConfigObject& config, const FamilyDefaults& defaults, int vocabulary) {
    if (config.is_null("pad_token_id")) return -1;
    const int token = config.whole("pad_token_id", defaults.padding_token, -vocabulary, vocabulary - 1);
    return token < 0 && config.has("pad_token_id") ? token + vocabulary : token;
}

/// What all families but GPT-2 call the same.
inline TransformerOptions read_sizes(const ConfigObject& config, const FamilyDefaults& defaults) {
    TransformerOptions options;
    options.vocabulary = config.whole("vocab_size", defaults.vocabulary);
    options.hidden_size = config.whole("hidden_size", defaults.hidden_size);
    options.ffn_width = config.whole("intermediate_size", defaults.ffn_width);
    options.num_layers = config.whole("num_hidden_layers", defaults.num_layers, 1, 10'000);
    options.num_heads = config.whole("num_attention_heads", defaults.num_heads);
    options.padding_token = padding_token_of(config, defaults, options.vocabulary);
    return options;
}

/// Throws unless the heads share the width evenly, where the config does not say how wide they are.
inline void require_even_heads(const ConfigObject& config, const TransformerOptions& options) {
    if (options.head_width == 0 && options.hidden_size % options.num_heads != 0)
        refuse_file(config.path(), "the width of a token is " + std::to_string(options.hidden_size) +
                                       " and there are " + std::to_string(options.num_heads) +
                                       " heads, expected a number of heads that divides the width");
}

/// Llama, Mistral, Qwen 2 and 3, Gemma 2.
inline TransformerOptions read_llama_like(const ConfigObject& config, const FamilyTable& table) {
    const Family family = table.family;
    TransformerOptions options = read_sizes(config, table.defaults);
    if (!config.is_null("num_key_value_heads"))
        options.key_value_heads = config.whole("num_key_value_heads", table.defaults.key_value_heads);
    if (options.key_value_heads > 0 && options.num_heads % options.key_value_heads != 0)
        config.refuse("num_key_value_heads",
                      "a number that divides num_attention_heads, " + std::to_string(options.num_heads));
    if (!config.is_null("head_dim")) options.head_width = config.whole("head_dim", table.defaults.head_width);
    require_even_heads(config, options);
    options.rotary = rotary_of(config);
    const int head_width =
        options.head_width > 0 ? options.head_width : options.hidden_size / options.num_heads;
    if (head_width % 2 != 0)
        refuse_file(config.path(), "a head has a width of " + std::to_string(head_width) +
                                       ", expected an even one, for rotary positions");
    read_windows(config, family, options);

    options.norm = NormKind::rms;
    options.norm_epsilon = float(config.positive("rms_norm_eps", 1e-6));
    options.gated = true;
    options.activation = activation_of(config, "hidden_act", "silu");
    options.head_bias = false;
    options.tied_head = config.flag("tie_word_embeddings", family == Family::gemma2);
    const bool may_have_bias = family == Family::llama || family == Family::qwen3 || family == Family::gemma2;
    options.out_bias = may_have_bias && config.flag("attention_bias", false);
    options.qkv_bias = options.out_bias || family == Family::qwen2;
    options.ffn_bias = family == Family::llama && config.flag("mlp_bias", false);
    options.query_key_norm = family == Family::qwen3;
    if (family != Family::gemma2) return options;

    require_plain(config, "use_bidirectional_attention", false);
    options.norm = NormKind::rms_one_plus;
    options.norm_place = NormPlace::before_and_after;
    options.activation = activation_of(config, "hidden_activation", "gelu_pytorch_tanh");
    options.embedding_scale = float(std::sqrt(double(options.hidden_size)));
    const double width_of_scale = config.positive("query_pre_attn_scalar", 256);
    if (width_of_scale != head_width) options.scale = float(1 / std::sqrt(width_of_scale));
    if (!config.is_null("attn_logit_softcapping"))
        options.softcap = float(config.positive("attn_logit_softcapping", 50));
    if (!config.is_null("final_logit_softcapping"))
        options.final_softcap = float(config.positive("final_logit_softcapping", 30));
    return options;
}

inline TransformerOptions read_gpt2(const ConfigObject& config, const FamilyDefaults& defaults) {
    // The first name is the one that is written, the second another that is read.
    const auto whole = [&](const char* key, const char* also, int if_missing, int most) {
        return config.whole(config.find(key) != nullptr ? key : also, if_missing, 1, most);
    };
    constexpr int any = std::numeric_limits<int>::max();
    TransformerOptions options;
    options.vocabulary = config.whole("vocab_size", defaults.vocabulary);
    options.hidden_size = whole("n_embd", "hidden_size", defaults.hidden_size, any);
    options.num_layers = whole("n_layer", "num_hidden_layers", defaults.num_layers, 10'000);
    options.num_heads = whole("n_head", "num_attention_heads", defaults.num_heads, any);
    options.max_positions = whole("n_positions", "max_position_embeddings", 1024, any);
    if (!config.is_null("n_inner")) options.ffn_width = config.whole("n_inner", 0);
    require_even_heads(config, options);
    require_plain(config, "scale_attn_by_inverse_layer_idx", false);
    if (!config.flag("scale_attn_weights", true)) options.scale = 1;
    options.norm_epsilon = float(config.positive("layer_norm_epsilon", 1e-5));
    options.activation = activation_of(config, "activation_function", "gelu_new");
    options.positions = Positions::learned;
    options.head_bias = false;
    options.tied_head = config.flag("tie_word_embeddings", true);
    return options;
}

inline TransformerOptions read_bert(const ConfigObject& config, const FamilyDefaults& defaults) {
    TransformerOptions options = read_sizes(config, defaults);
    require_even_heads(config, options);
    require_plain(config, "position_embedding_type", "absolute");
    options.causal = config.flag("is_decoder", false);
    options.norm_epsilon = float(config.positive("layer_norm_eps", 1e-12));
    options.norm_place = NormPlace::after;
    options.activation = activation_of(config, "hidden_act", "gelu");
    options.positions = Positions::learned;
    options.max_positions = config.whole("max_position_embeddings", 512);
    options.token_types = config.whole("type_vocab_size", 2);
    options.embedding_norm = true;
    options.final_norm = false;
    options.head = false;
    return options;
}

inline const FamilyTable& family_of(const ConfigObject& config) {
    const FamilyTable* table = find_family(config.text("model_type", ""));
    if (table == nullptr) {
        std::string known;
        for (const FamilyTable& each : families)
            known += (known.empty() ? "" : ", ") + std::string(each.model_type);
        config.refuse("model_type", "one of " + known);
    }
    return *table;
}

/// The options of the model that a config.json describes; seats, layout, output and dropout are at their
/// defaults. Throws FileError, which names the setting, where the library has no such model.
inline TransformerOptions options_of_config(const ConfigObject& config) {
    const FamilyTable& table = family_of(config);
    require_plain(config, "quantization_config", nullptr);
    for (const char* key : {"add_cross_attention", "is_encoder_decoder"}) require_plain(config, key, false);
    if (config.has("pruned_heads") && !config.find("pruned_heads")->empty())
        config.refuse("pruned_heads", "none");
    const TransformerOptions options = table.family == Family::gpt2   ? read_gpt2(config, table.defaults)
                                       : table.family == Family::bert ? read_bert(config, table.defaults)
                                                                      : read_llama_like(config, table);
    // It makes a model of any family see what comes next, or not.
    if (config.has("is_causal") && config.flag("is_causal", true) != options.causal)
        config.refuse("is_causal",
                      std::string(options.causal ? "true" : "false") + ", as the model is without it");
    return options;
}

/// The same for the text of a config.json. `path` is its name in messages.
inline TransformerOptions options_of_config(const std::string& text,
                                            const std::filesystem::path& path = "config.json") {
    const nlohmann::json object = parse_json_object(path, text);
    return options_of_config(ConfigObject(path, object));
}

}  // namespace ring_attention::inline RING_ATTENTION_ABI::detail
