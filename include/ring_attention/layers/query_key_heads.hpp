#pragma once

#include <ring_attention/attention/seat_views.hpp>
#include <ring_attention/layers/attention_options.hpp>
#include <ring_attention/layers/head_norm.hpp>
#include <ring_attention/layers/norm_options.hpp>
#include <ring_attention/layers/rotary.hpp>

namespace ring_attention::inline RING_ATTENTION_ABI::detail {

/// What comes between the projection of queries, or of keys, and attention, in place: a norm of each head,
/// then its turn by the position of the token. Heads are [batch, heads, tokens, head_width] at each seat.
template <class T, AttentionLayerOptions options>
struct QueryKeyHeads {
    static constexpr Index head_width = CheckedAttention<options>::head_width;
    static constexpr bool has_norm = options.query_key_norm, changes = has_norm || options.rotary.on;
    static constexpr double epsilon = as_written(options.norm_epsilon);
    using Norm = HeadNorm<T, has_norm ? head_width : 0>;
    using Turns = Rotary<T, options.rotary, head_width>;

    static void forward(const Norm& norm, const SeatHeads<T>& heads, const List<TokenPositions>& tokens,
                        const auto& pass) {
        if constexpr (has_norm) norm.forward(heads, pass.batch, epsilon);
        if constexpr (options.rotary.on) Turns::turn(heads, tokens, pass.batch, pass);
    }

    /// d, the gradient of what forward gave, becomes that of `projected`, which it was given: asked for where
    /// there is a norm.
    static void backward(const Norm& norm, const SeatHeads<const T>& projected, const SeatHeads<T>& d,
                         const List<TokenPositions>& tokens, const SeatGradients<Norm>& gradients,
                         const auto& pass) {
        if constexpr (options.rotary.on) Turns::turn_back(d, tokens, pass.batch, pass);
        if constexpr (has_norm) norm.backward(projected, d, pass.batch, epsilon, gradients);
    }
};

}  // namespace ring_attention::inline RING_ATTENTION_ABI::detail
