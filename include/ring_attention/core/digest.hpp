#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include <ring_attention/core/parameters.hpp>

namespace ring_attention::inline RING_ATTENTION_ABI {

/// A hash of 64 bits (FNV-1a; Fowler, Noll, Vo) that tells whether two runs came to the same bits. Not
/// against forgery.
class Digest {
  public:
    void add(std::span<const std::byte> bytes) {
        for (const std::byte byte : bytes) value_ = (value_ ^ std::uint64_t(byte)) * 0x100000001b3u;
    }

    std::uint64_t value() const { return value_; }

  private:
    std::uint64_t value_ = 0xcbf29ce484222325u;
};

/// The digest of all parameters, names and bits.
template <Visitable Model>
std::uint64_t digest(const Model& model) {
    Digest all;
    for_each_parameter(model, [&](std::string_view name, const auto& tensor) {
        all.add(std::as_bytes(std::span(name)));
        all.add(std::as_bytes(detail::numbers_of(tensor)));
    });
    return all.value();
}

}  // namespace ring_attention::inline RING_ATTENTION_ABI
