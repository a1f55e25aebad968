#pragma once

#include <array>
#include <charconv>
#include <cmath>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include <ring_attention/models/transformer_options.hpp>

namespace ring_attention::inline RING_ATTENTION_ABI::detail {

/// Calls f(name, what it is, member...) for every member of TransformerOptions, in the order in which they
/// are declared. Given several options, it walks them in step.
void for_each_option(auto&& f, auto&... options) {
    f("vocabulary", "number of tokens", options.vocabulary...);
    f("embed_dim", "width of the input where it is vectors", options.embed_dim...);
    f("hidden_size", "numbers of a token between layers", options.hidden_size...);
    f("num_heads", "of queries", options.num_heads...);
    f("num_layers", "blocks of attention and feed-forward", options.num_layers...);
    f("key_value_heads", "which several query heads share", options.key_value_heads...);
    f("head_width", "of a query, a key and a value", options.head_width...);
    f("ffn_width", "inside the feed-forward layers", options.ffn_width...);
    f("causal", "a token sees those before it alone", options.causal...);
    f("num_chunks", "seats of the ring", options.num_chunks...);
    f("layout", "which tokens sit at which seat", options.layout...);
    f("output", "of which timesteps", options.output...);
    f("dropout", "rate, in training only", options.dropout...);
    f("window", "a token sees the last so many, itself included", options.window...);
    f("full_attention_every", "layers so many apart have no window", options.full_attention_every...);
    f("full_attention_first", "so many first layers have no window", options.full_attention_first...);
    f("scale", "of the scores", options.scale...);
    f("softcap", "of the scores", options.softcap...);
    f("sinks", "a score more in every softmax, without a value", options.sinks...);
    f("query_key_norm", "a norm over each head of queries and keys", options.query_key_norm...);
    f("rotary.on", "queries and keys turn with their position", options.rotary.on...);
    f("rotary.base", "of the frequencies", options.rotary.base...);
    f("rotary.pairs", "which features turn together", options.rotary.pairs...);
    f("rotary.scaling", "how frequencies are stretched", options.rotary.scaling...);
    f("rotary.factor", "by how much", options.rotary.factor...);
    f("rotary.low_frequency_factor", "below it all are stretched", options.rotary.low_frequency_factor...);
    f("rotary.high_frequency_factor", "above it none is", options.rotary.high_frequency_factor...);
    f("rotary.original_positions", "length of sequences in training", options.rotary.original_positions...);
    f("norm", "what norms do", options.norm...);
    f("norm_epsilon", "added to the variance", options.norm_epsilon...);
    f("norm_place", "in a residual branch", options.norm_place...);
    f("activation", "of the feed-forward layers", options.activation...);
    f("gated", "activation(gate(x)) * up(x) in feed-forward layers", options.gated...);
    f("qkv_bias", "of the projections to queries, keys and values", options.qkv_bias...);
    f("out_bias", "of the projection behind attention", options.out_bias...);
    f("ffn_bias", "of the feed-forward layers", options.ffn_bias...);
    f("positions", "added to the embedding", options.positions...);
    f("max_positions", "of learned ones", options.max_positions...);
    f("token_types", "with a table that is added to the embedding", options.token_types...);
    f("embedding_scale", "which embeddings are multiplied with", options.embedding_scale...);
    f("embedding_norm", "a norm over the sum of embeddings", options.embedding_norm...);
    f("final_norm", "a norm behind the last layer", options.final_norm...);
    f("head", "a logit for each token of the vocabulary", options.head...);
    f("head_bias", "of the logits", options.head_bias...);
    f("tied_head", "the head is the table of the embedding", options.tied_head...);
    f("final_softcap", "of the logits", options.final_softcap...);
    f("storage", "of keys and values", options.storage...);
    f("weights", "of kernels and the table of tokens", options.weights...);
    f("padding_token", "whose embedding has no gradient", options.padding_token...);
}

/// A number that is read back as the same float, as short as that can be; a whole one in all its digits.
inline std::string shortest_text(float value) {
    std::array<char, 64> text;
    const bool is_whole = std::abs(value) < 1e9f && std::trunc(value) == value;
    return {text.data(), std::to_chars(text.data(), text.data() + text.size(), value,
                                       is_whole ? std::chars_format::fixed : std::chars_format::general)
                             .ptr};
}

/// "RotaryScaling::llama3". The names of a type's values are listed in the order of its declaration.
template <class E>
std::string enum_text(E value) {
    const auto named = [&](const char* type, auto... names) {
        const std::array all{std::string_view(names)...};
        return type + std::string("::") + std::string(all.at(std::size_t(value)));
    };
    if constexpr (std::is_same_v<E, Layout>) return named("Layout", "contiguous", "zigzag", "striped");
    if constexpr (std::is_same_v<E, Output>) return named("Output", "last_timestep", "all", "mean_pool");
    if constexpr (std::is_same_v<E, Positions>) return named("Positions", "none", "sinusoidal", "learned");
    if constexpr (std::is_same_v<E, RotaryPairs>) return named("RotaryPairs", "half_split", "interleaved");
    if constexpr (std::is_same_v<E, RotaryScaling>) return named("RotaryScaling", "none", "linear", "llama3");
    if constexpr (std::is_same_v<E, NormKind>) return named("NormKind", "layer", "rms", "rms_one_plus");
    if constexpr (std::is_same_v<E, NormPlace>)
        return named("NormPlace", "before", "after", "before_and_after");
    if constexpr (std::is_same_v<E, ActivationKind>)
        return named("ActivationKind", "gelu", "gelu_tanh", "silu", "relu");
    if constexpr (std::is_same_v<E, Storage>) return named("Storage", "computing", "bfloat16");
}

/// The value of an option, as messages show it.
template <class T>
std::string option_text(const T& value) {
    if constexpr (std::is_same_v<T, bool>)
        return value ? "true" : "false";
    else if constexpr (std::is_enum_v<T>)
        return enum_text(value);
    else if constexpr (std::is_same_v<T, float>)
        return shortest_text(value);
    else
        return std::to_string(value);
}

/// Whether a layer, counted from 0, sees the last `window` tokens alone.
inline bool layer_has_window(const TransformerOptions& options, int layer) {
    return options.window > 0 &&
           !is_full_attention(layer, options.full_attention_every, options.full_attention_first);
}

struct FullAttention {
    int every = 0;
    int first = 0;
};

/// How full_attention_every and full_attention_first say which layers have a window. Nothing where they
/// cannot; the simplest way where there are several.
inline std::optional<FullAttention> full_attention_of(const std::vector<bool>& has_window) {
    const int layers = int(has_window.size());
    int leading = 0;  // layers without a window
    while (leading < layers && !has_window[std::size_t(leading)]) ++leading;
    TransformerOptions tried{.window = 1};
    for (int every = 0; every <= layers; ++every)
        for (const int first : {0, leading}) {
            tried.full_attention_every = every;
            tried.full_attention_first = first;
            int fitting = 0;
            while (fitting < layers && layer_has_window(tried, fitting) == has_window[std::size_t(fitting)])
                ++fitting;
            if (fitting == layers) return FullAttention{every, first};
        }
    return std::nullopt;
}

/// Options that make the same model with all that follows from others said, and what has no effect on it at
/// its default: seats, layout, output, dropout, both storages and the token without a gradient are the
/// caller's.
inline TransformerOptions spelt_out(TransformerOptions options) {
    const TransformerOptions defaults;
    options.num_chunks = defaults.num_chunks;
    options.layout = defaults.layout;
    options.output = defaults.output;
    options.dropout = defaults.dropout;
    options.storage = defaults.storage;
    options.weights = defaults.weights;
    options.padding_token = defaults.padding_token;
    if (options.vocabulary > 0) options.embed_dim = 0;
    if (options.key_value_heads == 0) options.key_value_heads = options.num_heads;
    if (options.head_width == 0 && options.num_heads > 0)
        options.head_width = options.hidden_size / options.num_heads;
    if (options.ffn_width == 0) options.ffn_width = 4 * options.hidden_size;
    if (options.scale == 0) options.scale = float(1 / std::sqrt(double(options.head_width)));
    if (options.embedding_scale == 0) options.embedding_scale = 1;

    std::vector<bool> has_window;
    for (int i = 0; i < options.num_layers; ++i) has_window.push_back(layer_has_window(options, i));
    const FullAttention full = full_attention_of(has_window).value_or(FullAttention{});
    options.full_attention_every = full.every;
    options.full_attention_first = full.first;
    if (full.first == options.num_layers) options.window = options.full_attention_first = 0;

    RotaryOptions& rotary = options.rotary;
    if (!rotary.on) rotary = {};
    if (rotary.scaling == RotaryScaling::none) rotary.factor = defaults.rotary.factor;
    if (rotary.scaling != RotaryScaling::llama3) {
        rotary.low_frequency_factor = defaults.rotary.low_frequency_factor;
        rotary.high_frequency_factor = defaults.rotary.high_frequency_factor;
        rotary.original_positions = defaults.rotary.original_positions;
    }
    if (options.positions != Positions::learned) options.max_positions = 0;
    if (!options.head) options.head_bias = options.tied_head = false;
    return options;
}

}  // namespace ring_attention::inline RING_ATTENTION_ABI::detail
