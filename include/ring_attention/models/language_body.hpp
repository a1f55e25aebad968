#pragma once

#include <ring_attention/layers/embedding.hpp>
#include <ring_attention/layers/positional_encoding.hpp>
#include <ring_attention/models/options.hpp>
#include <ring_attention/models/transformer.hpp>

namespace ring_attention::inline RING_ATTENTION_ABI {

/// The language model between its doors: embedding plus positional encoding, the blocks of the sequence
/// model, final_norm, and a head that gives a logit for each token of the vocabulary.
template <LanguageOptions options, class T>
struct LanguageBody {
    using Scalar = T;
    static constexpr Index vocabulary = options.vocabulary, width = options.hidden_size,
                           out_width = vocabulary;
    static constexpr bool streams = true;

    Embedding<T, vocabulary, width> embedding;
    PositionalEncoding<T, width> positions;
    Transformer<T, detail::block_options(options), options.num_layers> transformer;
    Dense<T, width, vocabulary> head;

    static void visit(auto&& f, auto&... self) {
        f("embedding", self.embedding...);
        decltype(LanguageBody::transformer)::visit(f, self.transformer...);
        f("head", self.head...);
    }

    struct Cache {
        typename Embedding<T, vocabulary, width>::Cache embedding;
        typename PositionalEncoding<T, width>::Cache positions;
        typename decltype(LanguageBody::transformer)::Cache transformer;
        typename Dense<T, width, vocabulary>::Cache head;
    };

    Matrix<T> forward(Matrix<Token> tokens, Cache* cache, const auto& pass) const {
        Matrix<T> x = embedding.forward(std::move(tokens), cache ? &cache->embedding : nullptr);
        x = forward_layer(positions, std::move(x), cache ? &cache->positions : nullptr, pass);
        x = forward_layer(transformer, std::move(x), cache ? &cache->transformer : nullptr, pass);
        return forward_layer(head, std::move(x), cache ? &cache->head : nullptr, pass);
    }

    void backward(Matrix<T> d, const Cache& cache, const SeatGradients<LanguageBody>& gradients,
                  const auto& pass) const {
        d = backward_layer(head, std::move(d), cache.head,
                           gradients.part([](auto& body) -> auto& { return body.head; }), pass);
        d = backward_layer(transformer, std::move(d), cache.transformer,
                           gradients.part([](auto& body) -> auto& { return body.transformer; }), pass);
        d = backward_layer(positions, std::move(d), cache.positions,
                           gradients.part([](auto& body) -> auto& { return body.positions; }), pass);
        embedding.backward(d, cache.embedding,
                           gradients.part([](auto& body) -> auto& { return body.embedding; }));
    }
};

}  // namespace ring_attention::inline RING_ATTENTION_ABI
