#pragma once

#include <ring_attention/core/abi.hpp>

namespace ring_attention::inline RING_ATTENTION_ABI {

/// As what numbers are kept that the computing type would hold in more memory than they need.
///
/// Keys and values, which are also sent so, are rounded before attention sees any of them, on every rank
/// alike; sums are of the computing type, as are the gradients, which are those of the rounded keys and
/// values. Where RING_ATTENTION_BFLOAT16_PRODUCTS is 1 (core/abi.hpp), forward in float rounds queries and
/// weights of attention to bfloat16 too, for products by an instruction of the processor (keys of an even
/// width); else nothing but keys and values is rounded.
///
/// Weights of layers (Dense, Embedding) are rounded when they are set and widened while they are multiplied:
/// results are those of the rounded weights, to the bit. They are for inference: none has a gradient.
enum class Storage {
    computing,  ///< as they are
    bfloat16,   ///< of 2 bytes, with the range of a float and 8 bits of precision
};

inline const char* name_of(Storage storage) {
    return storage == Storage::bfloat16 ? "bfloat16" : "computing";
}

}  // namespace ring_attention::inline RING_ATTENTION_ABI
