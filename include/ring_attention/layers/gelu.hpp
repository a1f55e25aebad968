#pragma once

#include <ring_attention/layers/activation.hpp>

namespace ring_attention::inline RING_ATTENTION_ABI {

/// y = x Phi(x), Phi the distribution function of the standard normal, by erf (Hendrycks, Gimpel 2016,
/// 1606.08415).
template <class T, Index Width>
using Gelu = Activation<T, Width, ActivationKind::gelu>;

}  // namespace ring_attention::inline RING_ATTENTION_ABI
