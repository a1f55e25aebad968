#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <ring_attention/attention/cache.hpp>
#include <ring_attention/core/error.hpp>
#include <ring_attention/layers/layer.hpp>

namespace ring_attention::inline RING_ATTENTION_ABI {

/// What a stream remembers of its tokens: a cache for each attention layer, in the order in which they ask.
template <class T>
class StreamMemory {
  public:
    /// Before each pass: room for so many tokens in all, of which no pass brings more than `portion`.
    void begin_pass(Index room, Index portion) {
        room_ = room;
        portion_ = portion;
        asked_ = 0;
    }

    /// With a place for these tokens. window: of the layer's mask, or 0. Throws Error where it was another
    /// one before: a wider one would miss what the cache has let go.
    KeyValueCache<T>& next_cache(const HeadShape& shape, Index window, Storage storage,
                                 const TokenPositions& next) {
        KeyValueCache<T>& cache = next_cache(shape, window, storage);
        cache.make_room(next, room_, portion_);
        return cache;
    }

    /// Of a stream that starts with a whole sequence: the place for what tokens to come see of it.
    KeyValueView<T> next_start(const HeadShape& shape, Index window, Storage storage, Index seq_len) {
        return next_cache(shape, window, storage).start_with(seq_len, room_, portion_);
    }

    /// Forgets all tokens, and keeps the memory; the next is at this position.
    void forget(Index next_position) {
        for (KeyValueCache<T>& cache : caches_) cache.forget(next_position);
    }

    Index bytes() const {
        Index sum = 0;
        for (const KeyValueCache<T>& cache : caches_) sum += cache.bytes();
        return sum;
    }

  private:
    KeyValueCache<T>& next_cache(const HeadShape& shape, Index window, Storage storage) {
        if (asked_ == caches_.size()) caches_.emplace_back(shape, window, storage);
        KeyValueCache<T>& cache = caches_[asked_++];
        if (cache.window() != window)
            throw Error("the window of an attention layer is " + std::to_string(window) + ", expected " +
                        std::to_string(cache.window()) + ", as when the stream began");
        return cache;
    }

    std::vector<KeyValueCache<T>> caches_;
    Index room_ = 0, portion_ = 0;
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
    Index start_of_document = 0;           ///< of all these tokens

    StreamPass at_part(Index, bool is_last = true) const {
        StreamPass part = *this;
        part.last_token_only = last_token_only && is_last;
        return part;
    }

    Index document_start(Index) const { return start_of_document; }

    Matrix<std::int32_t> token_types() const {
        return Matrix<std::int32_t>::Zero(batch * share.next.count, 1);
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
