#pragma once

#include <ring_attention/core/abi.hpp>

namespace ring_attention::inline RING_ATTENTION_ABI {

/// What a feed-forward layer does between its products.
enum class ActivationKind {
    gelu,       ///< x Phi(x) by erf (Hendrycks, Gimpel 2016, 1606.08415)
    gelu_tanh,  ///< the same by tanh, as GPT-2 and Gemma have it
    silu,       ///< x / (1 + exp(-x)) (Elfwing, Uchibe, Doya 2017, 1702.03118)
    relu,       ///< max(x, 0)
};

}  // namespace ring_attention::inline RING_ATTENTION_ABI
