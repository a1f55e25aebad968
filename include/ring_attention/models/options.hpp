#pragma once

#include <ring_attention/models/transformer_options.hpp>

namespace ring_attention::inline RING_ATTENTION_ABI {

/// The sequence model's options: those of TransformerOptions of the same names, for vectors. A wrong one is a
/// compile error in one sentence.
struct Options {
    int embed_dim = 0;      ///< width of the input, required
    int hidden_size = 256;  ///< width inside and of the output
    int num_heads = 4;
    int num_chunks = 4;  ///< seats of the ring; changes results by rounding only
    int num_layers = 4;
    float dropout = 0.1f;  ///< rate, in training only
    int window_size = 60;  ///< kept of the models that came before: bounds nothing, changes nothing
    Output output = Output::last_timestep;
    Layout layout = Layout::contiguous;  ///< which tokens sit at which seat; changes results by rounding only
    int key_value_heads = 0;  ///< which several query heads share; divides num_heads; 0: as many as num_heads
    int window = 0;           ///< 0: none; else a token sees the last so many tokens, itself included
    float softcap = 0;        ///< 0: none; else attention scores := softcap tanh(score / softcap)
    bool sinks = false;       ///< a parameter a head: a score more in every softmax, without a value
    Storage storage = Storage::computing;  ///< of keys and values, while they are kept and sent
    Storage weights = Storage::computing;  ///< of kernels and tables; bfloat16: for inference
};

/// The width of the output.
template <Options options>
constexpr Index output_size() {
    return options.hidden_size;
}

/// The language model's options.
struct LanguageOptions {
    int vocabulary = 256;  ///< number of tokens: 256 for bytes
    int hidden_size = 256;
    int num_heads = 4;
    int num_chunks = 4;
    int num_layers = 4;
    float dropout = 0.1f;
    Layout layout = Layout::contiguous;
    int key_value_heads = 0;  ///< this and what follows as in Options
    int window = 0;
    float softcap = 0;
    bool sinks = false;
    Storage storage = Storage::computing;
    Storage weights = Storage::computing;
};

/// What the options of a model say of the transformer that it is.
constexpr TransformerOptions transformer_options(const TransformerOptions& options) {
    return options;
}

/// As in the list of all.
constexpr TransformerOptions transformer_options(const Options& o) {
    return {.embed_dim = o.embed_dim,
            .hidden_size = o.hidden_size,
            .num_heads = o.num_heads,
            .num_layers = o.num_layers,
            .key_value_heads = o.key_value_heads,
            .num_chunks = o.num_chunks,
            .layout = o.layout,
            .output = o.output,
            .dropout = o.dropout,
            .window = o.window,
            .softcap = o.softcap,
            .sinks = o.sinks,
            .storage = o.storage,
            .weights = o.weights};
}

/// With sinusoidal positions.
constexpr TransformerOptions transformer_options(const LanguageOptions& o) {
    return {.vocabulary = o.vocabulary,
            .hidden_size = o.hidden_size,
            .num_heads = o.num_heads,
            .num_layers = o.num_layers,
            .key_value_heads = o.key_value_heads,
            .num_chunks = o.num_chunks,
            .layout = o.layout,
            .dropout = o.dropout,
            .window = o.window,
            .softcap = o.softcap,
            .sinks = o.sinks,
            .positions = Positions::sinusoidal,
            .storage = o.storage,
            .weights = o.weights};
}

}  // namespace ring_attention::inline RING_ATTENTION_ABI
