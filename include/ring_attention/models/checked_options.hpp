#pragma once

#include <ring_attention/layers/ring_attention.hpp>
#include <ring_attention/models/options.hpp>
#include <ring_attention/models/transformer_options.hpp>

namespace ring_attention::inline RING_ATTENTION_ABI::detail {

// A sentence about a wrong option must stand in the text of the program, and begins with what the user wrote,
// Options or LanguageOptions: so the one list of rules is a macro. RULE(is kept, what is said otherwise).
#define RING_ATTENTION_RULES(RULE, options)                                                                 \
    RULE(o.hidden_size > 0, options ": hidden_size must be positive")                                       \
    RULE(o.num_heads > 0, options ": num_heads must be positive")                                           \
    RULE(o.num_layers > 0, options ": num_layers must be positive")                                         \
    RULE(o.key_value_heads >= 0, options ": key_value_heads must not be negative")                          \
    RULE(o.head_width >= 0, options ": head_width must not be negative")                                    \
    RULE(o.head_width > 0 || divides(o.num_heads, o.hidden_size),                                           \
         options ": num_heads must divide hidden_size")                                                     \
    RULE(divides(o.key_value_heads, o.num_heads), options ": key_value_heads must divide num_heads")        \
    RULE(o.num_chunks > 0, options ": num_chunks must be positive")                                         \
    RULE(o.dropout >= 0 && o.dropout < 1, options ": dropout must be at least 0 and less than 1")           \
    RULE(o.window >= 0, options ": window must not be negative")                                            \
    RULE(is_factor(o.scale), options ": scale must be finite and not negative")                             \
    RULE(is_factor(o.softcap), options ": softcap must be finite and not negative")                         \
    RULE(o.full_attention_every >= 0, options ": full_attention_every must not be negative")                \
    RULE(o.full_attention_first >= 0, options ": full_attention_first must not be negative")                \
    RULE(o.ffn_width >= 0, options ": ffn_width must not be negative")                                      \
    RULE(is_factor(o.norm_epsilon) && o.norm_epsilon > 0,                                                   \
         options ": norm_epsilon must be finite and positive")                                              \
    RULE(o.positions != Positions::learned || o.max_positions > 0,                                          \
         options ": learned positions need a positive max_positions")                                       \
    RULE(o.token_types >= 0, options ": token_types must not be negative")                                  \
    RULE(is_factor(o.embedding_scale), options ": embedding_scale must be finite and not negative")         \
    RULE(o.embedding_scale == 0 || o.vocabulary > 0, options ": embedding_scale needs a vocabulary")        \
    RULE(o.padding_token >= -1 && (o.padding_token == -1 || o.padding_token < o.vocabulary),                \
         options ": padding_token must be -1 or in the vocabulary")                                         \
    RULE(!o.tied_head || (o.vocabulary > 0 && o.head), options ": tied_head needs a vocabulary and a head") \
    RULE(is_factor(o.final_softcap), options ": final_softcap must be finite and not negative")             \
    RULE(o.final_softcap == 0 || (o.vocabulary > 0 && o.head),                                              \
         options ": final_softcap needs a vocabulary and a head")

/// Whether b is a multiple of a; of what other rules refuse it says nothing.
constexpr bool divides(int a, int b) {
    return a <= 0 || b % a == 0;
}

constexpr bool keeps_rules(const TransformerOptions& o) {
#define RING_ATTENTION_RULE(kept, sentence) &&(kept)
    return (o.vocabulary > 0) != (o.embed_dim > 0) RING_ATTENTION_RULES(RING_ATTENTION_RULE, "");
#undef RING_ATTENTION_RULE
}

/// What the layers see of the options: models that differ in the rest are of one type.
constexpr TransformerOptions for_layers(TransformerOptions o) {
    o.num_chunks = 1;
    o.layout = Layout::contiguous;
    o.output = Output::all;
    return o;
}

/// Any that keep the rules in place of wrong ones, so that what a check below says of those is the only
/// error.
constexpr TransformerOptions kept(const TransformerOptions& o) {
    return keeps_rules(o) ? o : TransformerOptions{.embed_dim = 1, .hidden_size = 1, .num_heads = 1};
}

/// The first rule that is broken, in one readable line.
#define RING_ATTENTION_RULE(kept, sentence) static_assert(kept, sentence);

template <TransformerOptions o>
struct Checked {
    static constexpr TransformerOptions options = kept(o);
    static_assert(o.vocabulary >= 0 && o.embed_dim >= 0 && (o.vocabulary == 0) != (o.embed_dim == 0),
                  "TransformerOptions: one of vocabulary and embed_dim must be positive, and the other 0");
    RING_ATTENTION_RULES(RING_ATTENTION_RULE, "TransformerOptions")
};

template <Options given>
struct CheckedOptions {
    static constexpr TransformerOptions o = transformer_options(given), options = kept(o);
    static_assert(o.embed_dim > 0, "Options: embed_dim is required and must be positive");
    static_assert(given.window_size > 0, "Options: window_size must be positive");
    RING_ATTENTION_RULES(RING_ATTENTION_RULE, "Options")
};

template <LanguageOptions given>
struct CheckedLanguageOptions {
    static constexpr TransformerOptions o = transformer_options(given), options = kept(o);
    static_assert(o.vocabulary > 0, "LanguageOptions: vocabulary must be positive");
    RING_ATTENTION_RULES(RING_ATTENTION_RULE, "LanguageOptions")
};
#undef RING_ATTENTION_RULE
#undef RING_ATTENTION_RULES

}  // namespace ring_attention::inline RING_ATTENTION_ABI::detail
