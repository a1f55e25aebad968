#pragma once

#include <ring_attention/core/abi.hpp>

namespace ring_attention::inline RING_ATTENTION_ABI {

template <class T>
class StreamMemory;

/// The memory of a stream that starts with the whole sequence of a pass, or none: of whatever number type, so
/// that Pass is one type. It refers to the memory, and does not keep it.
class StreamMemoryReference {
  public:
    StreamMemoryReference() = default;

    template <class T>
    StreamMemoryReference(StreamMemory<T>& memory) : memory_(&memory) {}

    explicit operator bool() const { return memory_ != nullptr; }

    /// T is what it was made from, the number type of the whole model.
    template <class T>
    StreamMemory<T>& of() const {
        return *static_cast<StreamMemory<T>*>(memory_);
    }

  private:
    void* memory_ = nullptr;
};

}  // namespace ring_attention::inline RING_ATTENTION_ABI
