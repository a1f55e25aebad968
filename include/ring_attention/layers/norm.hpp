#pragma once

#include <type_traits>

#include <ring_attention/layers/layer_norm.hpp>
#include <ring_attention/layers/rms_norm.hpp>

namespace ring_attention::inline RING_ATTENTION_ABI {

/// The norm that the options name.
template <class T, Index Width, NormOptions options>
using Norm = std::conditional_t<options.kind == NormKind::layer, LayerNorm<T, Width, options>,
                                RmsNorm<T, Width, options>>;

}  // namespace ring_attention::inline RING_ATTENTION_ABI
