#pragma once

#include <ring_attention/layers/block.hpp>
#include <ring_attention/models/transformer_options.hpp>

namespace ring_attention::inline RING_ATTENTION_ABI {

/// The sequence model's options. A wrong one is a compile error in one sentence.
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
};

namespace detail {

/// The rules that all transformer options share.
template <class O>
constexpr bool valid_transformer(const O& o) {
    return o.hidden_size > 0 && o.num_heads > 0 && o.hidden_size % o.num_heads == 0 && o.num_chunks > 0 &&
           o.num_layers > 0 && o.dropout >= 0 && o.dropout < 1 && o.key_value_heads >= 0 &&
           (o.key_value_heads == 0 || o.num_heads % o.key_value_heads == 0) && o.window >= 0 &&
           is_factor(o.softcap);
}

/// Of each block.
template <class O>
constexpr BlockOptions block_options(const O& o) {
    return {.width = o.hidden_size,
            .heads = o.num_heads,
            .dropout = o.dropout,
            .key_value_heads = o.key_value_heads,
            .window = o.window,
            .softcap = o.softcap,
            .sinks = o.sinks};
}

/// What the layers see of the options: models that differ in the rest have layers in common.
constexpr Options for_layers(Options options) {
    options.num_chunks = 1;
    options.window_size = 1;
    options.output = Output::all;
    options.layout = Layout::contiguous;
    return options;
}
constexpr LanguageOptions for_layers(LanguageOptions options) {
    options.num_chunks = 1;
    options.layout = Layout::contiguous;
    return options;
}

/// The first rule that is broken, in one readable line.
template <Options o>
struct Checked {
    static constexpr bool heads = o.hidden_size > 0 && o.num_heads > 0;
    static_assert(o.embed_dim > 0, "Options: embed_dim is required and must be positive");
    static_assert(o.hidden_size > 0, "Options: hidden_size must be positive");
    static_assert(o.num_heads > 0, "Options: num_heads must be positive");
    static_assert(!heads || o.hidden_size % (heads ? o.num_heads : 1) == 0,
                  "Options: num_heads must divide hidden_size");
    static_assert(o.num_chunks > 0, "Options: num_chunks must be positive");
    static_assert(o.num_layers > 0, "Options: num_layers must be positive");
    static_assert(o.dropout >= 0 && o.dropout < 1, "Options: dropout must be at least 0 and less than 1");
    static_assert(o.window_size > 0, "Options: window_size must be positive");
    static_assert(o.key_value_heads >= 0, "Options: key_value_heads must not be negative");
    static_assert(!heads || o.key_value_heads <= 0 ||
                      o.num_heads % (o.key_value_heads > 0 ? o.key_value_heads : 1) == 0,
                  "Options: key_value_heads must divide num_heads");
    static_assert(o.window >= 0, "Options: window must not be negative");
    static_assert(is_factor(o.softcap), "Options: softcap must be finite and not negative");

    /// Any valid options in place of invalid ones, so that the sentence above is the only error.
    static constexpr Options options = o.embed_dim > 0 && valid_transformer(o)
                                           ? o
                                           : Options{.embed_dim = 1, .hidden_size = 1, .num_heads = 1};
    static constexpr Options of_layers = for_layers(options);
};

template <LanguageOptions o>
struct CheckedLanguage {
    static constexpr bool heads = o.hidden_size > 0 && o.num_heads > 0;
    static_assert(o.vocabulary > 0, "LanguageOptions: vocabulary must be positive");
    static_assert(o.hidden_size > 0, "LanguageOptions: hidden_size must be positive");
    static_assert(o.num_heads > 0, "LanguageOptions: num_heads must be positive");
    static_assert(!heads || o.hidden_size % (heads ? o.num_heads : 1) == 0,
                  "LanguageOptions: num_heads must divide hidden_size");
    static_assert(o.num_chunks > 0, "LanguageOptions: num_chunks must be positive");
    static_assert(o.num_layers > 0, "LanguageOptions: num_layers must be positive");
    static_assert(o.dropout >= 0 && o.dropout < 1,
                  "LanguageOptions: dropout must be at least 0 and less than 1");
    static_assert(o.key_value_heads >= 0, "LanguageOptions: key_value_heads must not be negative");
    static_assert(!heads || o.key_value_heads <= 0 ||
                      o.num_heads % (o.key_value_heads > 0 ? o.key_value_heads : 1) == 0,
                  "LanguageOptions: key_value_heads must divide num_heads");
    static_assert(o.window >= 0, "LanguageOptions: window must not be negative");
    static_assert(is_factor(o.softcap), "LanguageOptions: softcap must be finite and not negative");

    static constexpr LanguageOptions options = o.vocabulary > 0 && valid_transformer(o)
                                                   ? o
                                                   : LanguageOptions{
                                                         .vocabulary = 1, .hidden_size = 1, .num_heads = 1};
    static constexpr LanguageOptions of_layers = for_layers(options);
};

}  // namespace detail

}  // namespace ring_attention::inline RING_ATTENTION_ABI
