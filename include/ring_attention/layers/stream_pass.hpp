#pragma once

#include <cstdint>
#include <vector>

#include <ring_attention/attention/cache.hpp>
#include <ring_attention/layers/layer.hpp>

namespace ring_attention::inline RING_ATTENTION_ABI {

/// What a stream remembers of its tokens: a cache for each attention layer, in the order in which they ask.
template <class T>
class StreamMemory {
  public:
    /// Before each pass: room for so many tokens, of which `used` are remembered.
    void begin_pass(Index room, Index used) {
        room_ = room;
        used_ = used;
        asked_ = 0;
    }

    KeyValueCache<T>& next_cache(const HeadShape& shape) {
        if (asked_ == caches_.size()) caches_.emplace_back(shape);
        KeyValueCache<T>& cache = caches_[asked_++];
        cache.reserve(room_, used_);
        return cache;
    }

    Index bytes() const {
        Index sum = 0;
        for (const KeyValueCache<T>& cache : caches_) sum += cache.bytes();
        return sum;
    }

  private:
    std::vector<KeyValueCache<T>> caches_;
    Index room_ = 0, used_ = 0;
    std::size_t asked_ = 0;
};

/// In place of a Share: the next tokens of a stream, all at one seat.
struct StreamShare {
    TokenPositions next;

    Index num_seats() const { return 1; }
    TokenPositions tokens(Index) const { return next; }
    Index tokens_before(Index) const { return 0; }
    bool has_last_token(Index) const { return true; }
};

/// In place of a Pass, where the tokens before these have been seen: inference, without a ring.
template <class T>
struct StreamPass {
    StreamMemory<T>& memory;
    StreamShare share;
    Index batch;
    KeepPatternReference keep_patterns{};  ///< none
    bool last_token_only = false;          ///< of these; as in Pass
    std::uint64_t layer = 0;               ///< keys nothing here

    StreamPass at_part(Index, bool is_last = true) const {
        return {memory, share, batch, keep_patterns, last_token_only && is_last};
    }

    template <class Number>
    Matrix<Number> last_rows(const Matrix<Number>& rows) const {
        return detail::last_token_rows(rows, share, batch);
    }
};

/// A layer that can take a sequence in portions: its forward, given a StreamPass and the next tokens, gives
/// what it would give for them in the whole sequence. A TokenLayer does; any other has to promise it:
///
///     static constexpr bool streams = true;
template <class L>
concept StreamingLayer = TokenLayer<L> || bool(L::streams);

}  // namespace ring_attention::inline RING_ATTENTION_ABI
