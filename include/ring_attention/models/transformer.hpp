#pragma once

#include <type_traits>

#include <ring_attention/layers/block.hpp>
#include <ring_attention/layers/embedding.hpp>
#include <ring_attention/layers/learned_positions.hpp>
#include <ring_attention/layers/positional_encoding.hpp>
#include <ring_attention/layers/sequential.hpp>
#include <ring_attention/layers/soft_cap.hpp>
#include <ring_attention/layers/stack.hpp>
#include <ring_attention/layers/token_types.hpp>
#include <ring_attention/layers/with_tied_head.hpp>
#include <ring_attention/models/transformer_options.hpp>

namespace ring_attention::inline RING_ATTENTION_ABI {

namespace detail {

/// A part, or where the model does not have it, nothing.
template <bool is_there, class Part, class Nothing>
using PartIf = std::conditional_t<is_there, Part, Named<"", Nothing>>;

constexpr NormOptions norm_options(const TransformerOptions& o) {
    return {o.norm, o.norm_epsilon};
}

/// Of each block.
constexpr BlockOptions block_options(const TransformerOptions& o) {
    return {.width = o.hidden_size,
            .heads = o.num_heads,
            .dropout = o.dropout,
            .key_value_heads = o.key_value_heads,
            .head_width = o.head_width,
            .causal = o.causal,
            .window = o.window,
            .softcap = o.softcap,
            .scale = o.scale,
            .sinks = o.sinks,
            .ffn_width = o.ffn_width,
            .activation = o.activation,
            .gated = o.gated,
            .norm = norm_options(o),
            .norm_place = o.norm_place,
            .qkv_bias = o.qkv_bias,
            .out_bias = o.out_bias,
            .ffn_bias = o.ffn_bias,
            .query_key_norm = o.query_key_norm,
            .rotary = o.rotary,
            .storage = o.storage,
            .weights = o.weights};
}

/// Some of the blocks have no window.
template <int every, int first>
struct WithoutWindow {
    static void prepare(auto& block, Index number) {
        if (is_full_attention(int(number) - 1, every, first)) std::get<0>(block.layers).inner.window = 0;
    }
};

/// As a table of tokens is also the kernel of a head: logits of tokens of size 1 have size 1.
constexpr EmbeddingOptions embedding_options(const TransformerOptions& o) {
    EmbeddingOptions options{
        .scale = o.embedding_scale, .padding_token = o.padding_token, .weights = o.weights};
    if (!o.tied_head) return options;
    double root = 1;
    for (int i = 0; i < 64; ++i) root = (root + o.hidden_size / root) / 2;
    options.deviation = float(1 / root);
    return options;
}

/// Trunk and head, which is one of its own or the table of the embedding.
template <bool tied, template <class...> class Trunk, class Head, class... Behind>
struct WholeOf {
    using type = Trunk<Head, Behind...>;
};
template <template <class...> class Trunk, class Head, class... Behind>
struct WholeOf<true, Trunk, Head, Behind...> {
    using type = Sequential<Named<"", WithTiedHead<Trunk<>>>, Behind...>;
};

/// What a transformer consists of.
template <TransformerOptions o, class T>
struct TransformerParts {
    static constexpr Index width = o.hidden_size;
    static constexpr bool has_tokens = o.vocabulary > 0, has_head = has_tokens && o.head;
    static constexpr BlockOptions of_block = block_options(o);
    static constexpr NormOptions of_norm = of_block.norm;
    static constexpr EmbeddingOptions of_embedding = embedding_options(o);
    static constexpr SoftCapOptions of_soft_cap{o.final_softcap > 0 ? o.final_softcap : 1};
    using Nothing = Identity<T, width>;
    using Norm = ring_attention::Norm<T, width, of_norm>;

    using Entrance = std::conditional_t<
        has_tokens, Named<"embedding", Embedding<T, o.vocabulary, width, of_embedding>>,
        PartIf<o.embed_dim != width, Named<"input_projection", Dense<T, o.embed_dim, width, true, o.weights>>,
               Nothing>>;
    using Positioned = std::conditional_t<o.positions == Positions::learned,
                                          Named<"positions", LearnedPositions<T, o.max_positions, width>>,
                                          PartIf<o.positions == Positions::sinusoidal,
                                                 Named<"positions", PositionalEncoding<T, width>>, Nothing>>;
    using Typed =
        PartIf<(o.token_types > 0), Named<"token_types", TokenTypes<T, o.token_types, width>>, Nothing>;
    using EmbeddingNorm = PartIf<o.embedding_norm, Named<"embedding_norm", Norm>, Nothing>;

    using Between = DropoutLayer<T, width, DropoutOptions{o.dropout, DropoutSite::between_blocks}>;
    using Differences = std::conditional_t<o.window == 0, AllAlike,
                                           WithoutWindow<o.full_attention_every, o.full_attention_first>>;
    using Blocks = Stack<Block<T, of_block>, o.num_layers, Between, Differences>;
    using FinalNorm = PartIf<o.final_norm, Named<"final_norm", Norm>, Nothing>;

    static constexpr Index out_width = has_head ? o.vocabulary : width;
    using Head =
        PartIf<has_head, Named<"head", Dense<T, width, o.vocabulary, o.head_bias, o.weights>>, Nothing>;
    using Capped =
        PartIf<(o.final_softcap > 0), Named<"", SoftCap<T, out_width, of_soft_cap>>, Identity<T, out_width>>;

    template <class... Behind>
    using Trunk =
        Sequential<Entrance, Positioned, Typed, EmbeddingNorm, Named<"ring_", Blocks>, FinalNorm, Behind...>;

    using type = typename WholeOf<o.tied_head, Trunk, Head, Capped>::type;
};

}  // namespace detail

/// A transformer between its doors: the embedding of tokens, or for vectors input_projection (only where
/// embed_dim is not hidden_size); positions, token types and a norm over the sum of them; blocks "ring_1" ...
/// with dropout between them; final_norm; and for tokens a head that gives a logit for each of the
/// vocabulary.
template <TransformerOptions o, class T>
struct Transformer : detail::TransformerParts<o, T>::type {
    static constexpr TransformerOptions options = o;
};

}  // namespace ring_attention::inline RING_ATTENTION_ABI
