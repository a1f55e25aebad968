#pragma once

#include <cmath>

#include <ring_attention/attention/heads.hpp>
#include <ring_attention/attention/mask.hpp>
#include <ring_attention/core/storage.hpp>
#include <ring_attention/sequence/share.hpp>

namespace ring_attention::inline RING_ATTENTION_ABI {

/// What is to be done to a score before the softmax sees it, in this order:
///   score = scale (query . key);  softcap tanh(score / softcap);  score - slope |query position - key
///   position|
/// and then what ScoreTerms add.
struct ScoreOptions {
    double scale = 1;
    double softcap = 0;           ///< 0: none (Gemma 2, 2408.00118)
    List<double> alibi_slopes{};  ///< one a query head (Press, Smith, Lewis 2022, 2108.12409); empty: none
};

/// Everything about an attention but its numbers: made once, by the operator or by the layer, for one rank.
struct AttentionPlan {
    Share queries;  ///< which queries this rank has
    Share keys;     ///< which keys and values it has, of a sequence of perhaps another length
    HeadShape heads;
    Mask mask;
    ScoreOptions score;
    Index query_offset = 0;  ///< the position of the first query of the sequence
    Storage storage = Storage::computing;

    /// The positions of the queries at a seat of the rank, as the mask counts them.
    TokenPositions query_tokens(Index seat) const { return query_tokens(queries, seat); }

    TokenPositions query_tokens(const Share& share, Index seat) const {
        TokenPositions tokens = share.tokens(seat);
        tokens.first += query_offset;
        return tokens;
    }

    /// Whether a query that rank `rank` has sees any of the keys that rank `home` has.
    bool sees(int rank, int home) const {
        const Share asking(queries.layout(), rank, queries.ranks()), asked(keys.layout(), home, keys.ranks());
        for (Index query = 0; query < asking.num_seats(); ++query)
            for (Index key = 0; key < asked.num_seats(); ++key)
                if (mask.any_visible(query_tokens(asking, query), asked.tokens(key))) return true;
        return false;
    }
};

/// 1 / sqrt(key width), as a number of type T would be.
template <class T>
double default_scale(Index key_width) {
    return double(T(1) / std::sqrt(T(key_width)));
}

}  // namespace ring_attention::inline RING_ATTENTION_ABI
