#pragma once

#include <cstdint>
#include <span>

#include <ring_attention/core/types.hpp>

namespace ring_attention::inline RING_ATTENTION_ABI {

/// The places of dropout in a block, and between blocks.
enum class DropoutSite : std::uint64_t { attention = 0, feed_forward = 1, between_blocks = 2 };

/// Which of the model's dropouts.
struct DropoutPlace {
    std::uint64_t layer = 0;  ///< 1 for the first block of a stack, and so on (Pass::layer)
    DropoutSite site{};
};

/// What can be passed to forward() in place of a Dropout: keep patterns from elsewhere. Where they have a
/// key(), ranks whose keys differ are found out.
template <class M>
concept KeepPatterns = requires(const M& keep_patterns, const DropoutPlace& place,
                                std::span<std::uint8_t> keep) {
    keep_patterns.keep(place, Index(), Index(), double(), keep);
};

/// Patterns of whatever type, or none (inference): so layers are compiled once for all. It refers to the keep
/// patterns, and does not keep them.
class KeepPatternReference {
  public:
    KeepPatternReference() = default;

    template <KeepPatterns M>
    KeepPatternReference(const M& keep_patterns)
        : patterns_(&keep_patterns),
          key_(key_of(keep_patterns)),
          keep_([](const void* erased, const DropoutPlace& place, Index batch, Index position, double rate,
                   std::span<std::uint8_t> keep) {
              static_cast<const M*>(erased)->keep(place, batch, position, rate, keep);
          }) {}

    explicit operator bool() const { return patterns_ != nullptr; }

    /// What ranks that have the same keep patterns have in common: 0 without keep patterns.
    std::uint64_t key() const { return key_; }

    void keep(const DropoutPlace& place, Index batch, Index position, double rate,
              std::span<std::uint8_t> keep) const {
        keep_(patterns_, place, batch, position, rate, keep);
    }

  private:
    static std::uint64_t key_of(const auto& keep_patterns) {
        if constexpr (requires { keep_patterns.key(); })
            return keep_patterns.key();
        else
            return 1;
    }

    const void* patterns_ = nullptr;
    std::uint64_t key_ = 0;
    void (*keep_)(const void*, const DropoutPlace&, Index, Index, double, std::span<std::uint8_t>) = nullptr;
};

}  // namespace ring_attention::inline RING_ATTENTION_ABI
