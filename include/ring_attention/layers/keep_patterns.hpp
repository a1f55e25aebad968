#pragma once

#include <array>
#include <bit>
#include <cstdint>
#include <span>
#include <type_traits>

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

/// Keep patterns that are two numbers and promise (`drawn_from_numbers`) to be a function of nothing else: a
/// copy of them draws the same at any later time.
template <class M>
concept DrawnKeepPatterns = KeepPatterns<M> && std::is_trivially_copyable_v<M> &&
    sizeof(M) == 2 * sizeof(std::uint64_t) && bool(M::drawn_from_numbers);

/// Patterns of whatever type, or none (inference): so layers are compiled once for all. Drawn ones it has in
/// itself; to others it refers, and they must outlive it.
class KeepPatternReference {
  public:
    KeepPatternReference() = default;

    template <KeepPatterns M>
    KeepPatternReference(const M& keep_patterns)
        : patterns_(&keep_patterns),
          key_(key_of(keep_patterns)),
          keep_([](const KeepPatternReference& self, const DropoutPlace& place, Index batch, Index position,
                   double rate, std::span<std::uint8_t> keep) {
              static_cast<const M*>(self.patterns_)->keep(place, batch, position, rate, keep);
          }) {}

    template <DrawnKeepPatterns M>
    KeepPatternReference(const M& keep_patterns)
        : numbers_(std::bit_cast<Numbers>(keep_patterns)),
          key_(key_of(keep_patterns)),
          keep_([](const KeepPatternReference& self, const DropoutPlace& place, Index batch, Index position,
                   double rate, std::span<std::uint8_t> keep) {
              std::bit_cast<M>(self.numbers_).keep(place, batch, position, rate, keep);
          }) {}

    explicit operator bool() const { return keep_ != nullptr; }

    /// Whether a copy can draw the patterns again, whenever it likes.
    bool is_drawn() const { return keep_ && !patterns_; }

    /// What ranks that have the same keep patterns have in common: 0 without keep patterns.
    std::uint64_t key() const { return key_; }

    void keep(const DropoutPlace& place, Index batch, Index position, double rate,
              std::span<std::uint8_t> keep) const {
        keep_(*this, place, batch, position, rate, keep);
    }

  private:
    using Numbers = std::array<std::uint64_t, 2>;

    static std::uint64_t key_of(const auto& keep_patterns) {
        if constexpr (requires { keep_patterns.key(); })
            return keep_patterns.key();
        else
            return 1;
    }

    const void* patterns_ = nullptr;
    Numbers numbers_{};
    std::uint64_t key_ = 0;
    void (*keep_)(const KeepPatternReference&, const DropoutPlace&, Index, Index, double,
                  std::span<std::uint8_t>) = nullptr;
};

}  // namespace ring_attention::inline RING_ATTENTION_ABI
