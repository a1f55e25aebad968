#pragma once

#include <array>
#include <string>
#include <string_view>
#include <vector>

#include <ring_attention/io/config.hpp>
#include <ring_attention/io/config_object.hpp>
#include <ring_attention/io/option_list.hpp>

namespace ring_attention::inline RING_ATTENTION_ABI::detail {

/// The settings that say an option, each in some families.
struct SettingsOfOption {
    std::string_view option;
    std::array<std::string_view, 3> keys;
};

inline constexpr std::array<SettingsOfOption, 26> settings_of_options{
    {{"vocabulary", {"vocab_size"}},
     {"hidden_size", {"n_embd", "hidden_size"}},
     {"num_heads", {"n_head", "num_attention_heads"}},
     {"num_layers", {"n_layer", "num_hidden_layers"}},
     {"key_value_heads", {"num_key_value_heads"}},
     {"head_width", {"head_dim"}},
     {"ffn_width", {"n_inner", "intermediate_size"}},
     {"causal", {"is_decoder"}},
     {"window", {"sliding_window"}},
     {"full_attention_every", {"layer_types"}},
     {"full_attention_first", {"layer_types", "max_window_layers"}},
     {"scale", {"query_pre_attn_scalar", "scale_attn_weights"}},
     {"softcap", {"attn_logit_softcapping"}},
     {"rotary.base", {"rope_theta"}},
     {"rotary.scaling", {"rope_type", "type"}},
     {"rotary.factor", {"factor"}},
     {"rotary.low_frequency_factor", {"low_freq_factor"}},
     {"rotary.high_frequency_factor", {"high_freq_factor"}},
     {"rotary.original_positions", {"original_max_position_embeddings"}},
     {"norm_epsilon", {"rms_norm_eps", "layer_norm_epsilon", "layer_norm_eps"}},
     {"activation", {"hidden_activation", "activation_function", "hidden_act"}},
     {"max_positions", {"n_positions", "max_position_embeddings"}},
     {"token_types", {"type_vocab_size"}},
     {"tied_head", {"tie_word_embeddings"}},
     {"final_softcap", {"final_logit_softcapping"}},
     {"ffn_bias", {"mlp_bias"}}}};

/// `num_attention_heads is 6`, or nothing where the config has no setting for the option.
inline std::string setting_text(const ConfigObject& config, std::string_view option) {
    const ConfigObject rotary = rotary_settings(config);
    for (const SettingsOfOption& settings : settings_of_options)
        if (settings.option == option)
            for (const std::string_view key : settings.keys)
                for (const ConfigObject* object : {&config, &rotary})
                    if (!key.empty() && object->find(key) != nullptr)
                        return std::string(key) + " is " + printable(object->find(key)->dump());
    return {};
}

struct OptionDifference {
    std::string option;
    std::string first, second;  ///< the values of both
};

/// The options in which they describe different models, in the order of TransformerOptions.
inline std::vector<OptionDifference> differences(const TransformerOptions& first,
                                                 const TransformerOptions& second) {
    std::vector<OptionDifference> found;
    const TransformerOptions a = spelt_out(first), b = spelt_out(second);
    for_each_option(
        [&](const char* name, const char*, const auto& of_first, const auto& of_second) {
            if (of_first != of_second) found.push_back({name, option_text(of_first), option_text(of_second)});
        },
        a, b);
    return found;
}

/// Throws FileError unless the config describes the model of these options: "config.json: num_attention_heads
/// is 6, the model's options say 4".
inline void require_options(const ConfigObject& config, const TransformerOptions& options) {
    const std::vector<OptionDifference> found = differences(options_of_config(config), options);
    if (found.empty()) return;
    const auto& [name, of_config, of_model] = found.front();
    const std::string setting = setting_text(config, name);
    if (setting.ends_with(" is " + of_config))
        refuse_file(config.path(), setting + ", the model's options say " + of_model);
    refuse_file(config.path(),
                (setting.empty() ? "the model_type " + config.text("model_type", "") : setting) +
                    ", which makes " + name + " " + of_config + ", the model's options say " + of_model);
}

}  // namespace ring_attention::inline RING_ATTENTION_ABI::detail
