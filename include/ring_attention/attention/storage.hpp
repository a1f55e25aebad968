#pragma once

#include <ring_attention/core/abi.hpp>

namespace ring_attention::inline RING_ATTENTION_ABI {

/// As what numbers keys and values are kept and sent. They are rounded before attention sees any of them, on
/// every rank alike; whatever is computed is of the computing type, as are the gradients, which are those of
/// the rounded keys and values.
enum class Storage {
    computing,  ///< as they are
    bfloat16,   ///< of 2 bytes, with the range of a float and 8 bits of precision
};

inline const char* name_of(Storage storage) {
    return storage == Storage::bfloat16 ? "bfloat16" : "computing";
}

}  // namespace ring_attention::inline RING_ATTENTION_ABI
