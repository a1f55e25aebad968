#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <ring_attention/attention/seat_caches.hpp>
#include <ring_attention/core/error.hpp>
#include <ring_attention/layers/layer.hpp>

namespace ring_attention::inline RING_ATTENTION_ABI {

/// What a rank remembers of the tokens of a stream: caches for each attention layer, in the order in which
/// they ask, at the seats that the rank has.
template <class T>
class StreamMemory {
  public:
    /// All in one place.
    StreamMemory() : StreamMemory(1, {0, 1}) {}
    StreamMemory(Index num_seats, const IndexRange& own_seats) : layout_(num_seats), seats_(own_seats) {}

    /// Before each pass: room for so many tokens in all, of which no pass brings more than `portion`.
    void begin_pass(Index room, Index portion) {
        room_ = room;
        portion_ = portion;
        asked_ = 0;
    }

    /// With places for those of the tokens `next` that sit here. window: of the layer's mask, or 0. Throws
    /// Error where it was another one before: a wider one would miss what the caches have let go.
    SeatCaches<T>& next_caches(const HeadShape& shape, Index window, Storage storage,
                               const TokenPositions& next) {
        SeatCaches<T>& caches = next_caches(shape, window, storage);
        caches.make_room(layout_, {next.first, next.count}, room_, portion_);
        return caches;
    }

    /// Of a stream that starts with a whole sequence, of which `own` are this rank's keys and values: keeps
    /// what tokens to come see of them, at the seats where they are; or of all tokens, where they are to be
    /// in one place.
    void start_next(RingReference ring, const Share& share, const HeadShape& shape, Index window,
                    const KeyValueMessage<T>& own) {
        SeatCaches<T>& caches = next_caches(shape, window, own.storage());
        const IndexRange seen = caches.start(layout_, share.layout().seq_len(), room_, portion_);
        if (layout_.num_seats() == 1)
            detail::gather_key_values(ring, share, shape, own, caches.at(layout_, 0, seen));
        else
            for (Index seat = 0; seat < own.num_seats(); ++seat) caches.keep(layout_, seat, seen, own[seat]);
    }

    /// Forgets all tokens, and keeps the memory; a document begins at this position.
    void begin_document(Index position) { begin(StreamLayout(layout_.num_seats(), position)); }

    /// The same, for one that begins with a sequence whose tokens stay at their seats.
    void begin_with(const ChunkLayout& sequence) {
        if (layout_.num_seats() == 1)
            begin_document(0);
        else
            begin(StreamLayout(sequence));
    }

    const StreamLayout& layout() const { return layout_; }

    Index bytes() const {
        Index sum = 0;
        for (const SeatCaches<T>& caches : layers_) sum += caches.bytes();
        return sum;
    }

  private:
    void begin(const StreamLayout& layout) {
        layout_ = layout;
        for (SeatCaches<T>& caches : layers_) caches.forget();
    }

    SeatCaches<T>& next_caches(const HeadShape& shape, Index window, Storage storage) {
        if (asked_ == layers_.size()) layers_.emplace_back(shape, window, storage, seats_);
        SeatCaches<T>& caches = layers_[asked_++];
        if (caches.window() != window)
            throw Error("the window of an attention layer is " + std::to_string(window) + ", expected " +
                        std::to_string(caches.window()) + ", as when the stream began");
        return caches;
    }

    StreamLayout layout_;
    IndexRange seats_;
    std::vector<SeatCaches<T>> layers_;
    Index room_ = 0, portion_ = 0;
    std::size_t asked_ = 0;
};

/// In place of a Share: the next tokens of a stream, which every rank computes, all at one seat.
struct StreamShare {
    TokenPositions next;

    Index num_seats() const { return 1; }
    TokenPositions tokens(Index) const { return next; }
    Index tokens_before(Index) const { return 0; }
    bool has_last_token(Index) const { return true; }
};

/// In place of a Pass, where the tokens before these have been seen: inference. All ranks of the ring compute
/// the same, but for attention to the tokens before, of which each sees its own.
template <class T>
struct StreamPass {
    RingReference ring;
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
