#pragma once

#include <ring_attention/layers/embedding.hpp>
#include <ring_attention/layers/positional_encoding.hpp>
#include <ring_attention/models/options.hpp>
#include <ring_attention/models/transformer.hpp>

namespace ring_attention {

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
    Transformer<T, BlockOptions{options.hidden_size, options.num_heads, options.dropout}, options.num_layers>
        transformer;
    Dense<T, width, vocabulary> head;

    static void visit(auto&& f, auto&... self) {
        f("embedding", self.embedding...);
        decltype(LanguageBody::transformer)::visit(f, self.transformer...);
        f("head", self.head...);
    }

    struct Cache {
        std::vector<typename Embedding<T, vocabulary, width>::Cache> embedding;
        CacheOf<PositionalEncoding<T, width>> positions;
        CacheOf<decltype(LanguageBody::transformer)> transformer;
        CacheOf<Dense<T, width, vocabulary>> head;
    };

    Seats<T> forward(Seats<Token> tokens, Cache* cache, const auto& pass) const {
        Seats<T> x(tokens.size());
        if (cache) cache->embedding.resize(tokens.size());
        for (std::size_t seat = 0; seat < tokens.size(); ++seat)
            x[seat] = embedding.forward(std::move(tokens[seat]), cache ? &cache->embedding[seat] : nullptr);
        x = forward_seats(positions, std::move(x), cache ? &cache->positions : nullptr, pass);
        x = forward_seats(transformer, std::move(x), cache ? &cache->transformer : nullptr, pass);
        return forward_seats(head, std::move(x), cache ? &cache->head : nullptr, pass);
    }

    void backward(Seats<T> d, const Cache& cache, const SeatGradients<LanguageBody>& gradients,
                  const auto& pass) const {
        d = backward_seats(head, std::move(d), cache.head,
                           gradients.part([](auto& body) -> auto& { return body.head; }), pass);
        d = backward_seats(transformer, std::move(d), cache.transformer,
                           gradients.part([](auto& body) -> auto& { return body.transformer; }), pass);
        d = backward_seats(positions, std::move(d), cache.positions,
                           gradients.part([](auto& body) -> auto& { return body.positions; }), pass);
        for (std::size_t seat = 0; seat < d.size(); ++seat)
            embedding.backward(d[seat], cache.embedding[seat], gradients[seat].embedding);
    }
};

}  // namespace ring_attention
