#pragma once

#include <ring_attention/core/storage.hpp>
#include <ring_attention/layers/activation_kind.hpp>
#include <ring_attention/layers/norm_kind.hpp>
#include <ring_attention/layers/rotary_options.hpp>
#include <ring_attention/sequence/layout.hpp>

namespace ring_attention::inline RING_ATTENTION_ABI {

/// What a model gives for [batch, seq_len, embed_dim] or tokens [batch, seq_len].
enum class Output {
    last_timestep,  ///< [batch, width]
    all,            ///< [batch, seq_len, width]
    mean_pool,      ///< [batch, width], the mean over the timesteps
};

/// How a model of tokens knows where a token stands.
enum class Positions {
    none,        ///< not, or by rotary alone
    sinusoidal,  ///< added to the embedding (Vaswani et al. 2017, 1706.03762)
    learned,     ///< a table [max_positions, hidden_size] that is added to the embedding
};

/// The options of every transformer that the library has: those of the models that exist (Llama, Mistral,
/// Qwen, Gemma, GPT-2, BERT), and those from which Options and LanguageOptions are made. A wrong one is a
/// compile error in one sentence.
struct TransformerOptions {
    int vocabulary = 0;  ///< number of tokens; 0: the input is vectors of width embed_dim
    int embed_dim = 0;   ///< width of the input where it is vectors
    int hidden_size = 256;
    int num_heads = 4;
    int num_layers = 4;
    int key_value_heads = 0;  ///< which several query heads share; divides num_heads; 0: as many as num_heads
    int head_width = 0;       ///< of a query, a key and a value; 0: hidden_size / num_heads
    int ffn_width = 0;        ///< inside the feed-forward layers; 0: 4 hidden_size
    bool causal = true;

    int num_chunks = 4;  ///< seats of the ring; this and the layout change results by rounding only
    Layout layout = Layout::contiguous;
    Output output = Output::all;
    float dropout = 0;  ///< rate, in training only

    int window = 0;  ///< 0: none; else a token sees the last so many tokens, itself included
    int full_attention_every =
        0;  ///< layers so many apart (2: layers 2, 4, ...) have no window; 0: all have it
    int full_attention_first = 0;  ///< so many layers at the beginning have no window
    float scale = 0;               ///< of the scores; 0: 1 / sqrt(head_width)
    float softcap = 0;             ///< of the scores; 0: none
    bool sinks = false;            ///< a parameter per head: a score more in every softmax, without a value
    bool query_key_norm = false;   ///< an RMSNorm over each head of queries and of keys
    RotaryOptions rotary{};

    NormKind norm = NormKind::layer;
    float norm_epsilon = 1e-5f;
    NormPlace norm_place = NormPlace::before;
    ActivationKind activation = ActivationKind::gelu;
    bool gated = false;  ///< down(activation(gate(x)) * up(x)) in place of down(activation(up(x)))

    bool qkv_bias = true, out_bias = true, ffn_bias = true;
    Positions positions = Positions::none;
    int max_positions = 0;  ///< of learned ones
    int token_types = 0;    ///< a table [token_types, hidden_size] that is added to the embedding; 0: none
    float embedding_scale = 0;    ///< which embeddings are multiplied with; 0: none
    bool embedding_norm = false;  ///< a norm over the sum of embeddings
    bool final_norm = true;
    bool head = true;  ///< of models of tokens: a logit for each token of the vocabulary
    bool head_bias = true;
    bool tied_head = false;                ///< the head's kernel is the transpose of the embedding's table
    float final_softcap = 0;               ///< of the logits; 0: none
    Storage storage = Storage::computing;  ///< of keys and values, while they are kept and sent
    Storage weights = Storage::computing;  ///< of kernels and the table of tokens; bfloat16: for inference
    int padding_token = -1;  ///< whose embedding has no gradient (a tied head's kernel has); -1: none
};

namespace detail {

/// What full_attention_every and full_attention_first say of a layer, counted from 0: that it has no window.
constexpr bool is_full_attention(int layer, int every, int first) {
    return layer < first || (every > 0 && (layer + 1) % every == 0);
}

}  // namespace detail

}  // namespace ring_attention::inline RING_ATTENTION_ABI
