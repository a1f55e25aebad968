#pragma once

#include <ring_attention/core/tensor.hpp>
#include <ring_attention/ring/ring_reference.hpp>
#include <ring_attention/sequence/share.hpp>
#include <ring_attention/training/cross_entropy.hpp>

namespace ring_attention::inline RING_ATTENTION_ABI {

/// The targets of a language model: after each token of this rank, [batch, tokens], the one that follows it
/// in the sequence, which may be at home on another rank; after the last of all, ignored_target. Throws
/// ShapeError where the tokens are not those of the share.
inline Tensor<Token, 2> next_tokens(const Tensor<Token, 2>& tokens, const Share& share, RingReference ring) {
    const Index batch = tokens.dimension(0), seq_len = share.layout().seq_len();
    require_shape("tokens", tokens.dimensions(), std::array<Index, 2>{batch, share.num_tokens()});
    require_countable("tokens", tokens.dimensions());
    const List<Index> positions = share.positions();

    constexpr Token elsewhere = -1;
    List<Token> own(std::size_t(detail::product_of_sizes(batch, seq_len)), elsewhere);
    for (Index b = 0; b < batch; ++b)
        for (std::size_t i = 0; i < positions.size(); ++i)
            own[std::size_t(b * seq_len + positions[i])] = tokens(b, Index(i));
    List<Token> all(own.size(), elsewhere);
    sum_numbers_in_rank_order(ring, std::span(all), [&](std::span<Token> part, Index first) {
        for (std::size_t i = 0; i < part.size(); ++i)
            if (const Token token = own[std::size_t(first) + i]; token != elsewhere) part[i] = token;
    });

    Tensor<Token, 2> targets(batch, share.num_tokens());
    for (Index b = 0; b < batch; ++b)
        for (std::size_t i = 0; i < positions.size(); ++i)
            targets(b, Index(i)) = positions[i] + 1 < seq_len
                                       ? all[std::size_t(b * seq_len + positions[i] + 1)]
                                       : ignored_target;
    return targets;
}

}  // namespace ring_attention::inline RING_ATTENTION_ABI
