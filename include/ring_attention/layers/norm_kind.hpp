#pragma once

#include <ring_attention/core/abi.hpp>

namespace ring_attention::inline RING_ATTENTION_ABI {

enum class NormKind {
    layer,         ///< LayerNorm: gamma and beta (Ba, Kiros, Hinton 2016, 1607.06450)
    rms,           ///< RMSNorm: gamma alone (Zhang, Sennrich 2019, 1910.07467)
    rms_one_plus,  ///< RMSNorm with 1 + gamma, as Gemma has it
};

/// Where a residual branch has its norms.
enum class NormPlace {
    before,            ///< x + inner(norm(x))
    after,             ///< norm(x + inner(x)), as BERT has it
    before_and_after,  ///< x + post_norm(inner(norm(x))), as Gemma 2 has it
};

}  // namespace ring_attention::inline RING_ATTENTION_ABI
