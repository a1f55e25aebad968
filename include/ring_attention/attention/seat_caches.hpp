#pragma once

#include <algorithm>
#include <utility>
#include <vector>

#include <ring_attention/attention/cache.hpp>
#include <ring_attention/attention/gather_key_values.hpp>
#include <ring_attention/sequence/stream_layout.hpp>

namespace ring_attention::inline RING_ATTENTION_ABI {

/// Keys and values of one attention layer of a stream, at those seats of the ring that one rank has: a cache
/// for each, of the tokens that a StreamLayout seats there, in which they are counted as that numbers them.
template <class T>
class SeatCaches {
  public:
    /// window: a token sees itself and the window - 1 tokens before it; 0: all of its document.
    SeatCaches(const HeadShape& shape, Index window, Storage storage, const IndexRange& seats)
        : heads_(shape.batch_key_value_heads()),
          window_(window),
          seats_(seats),
          caches_(std::size_t(seats.count), KeyValueCache<T>(shape, storage)) {}

    /// Places for those of the tokens `next`, at most `portion`, that sit here; what they see of those before
    /// them stays. There is room for a document of `room` tokens, or with a window for it and a portion,
    /// where that is less. Throws std::bad_alloc where there is not so much memory, and forgets nothing.
    void make_room(const StreamLayout& layout, const IndexRange& next, Index room, Index portion) {
        const IndexRange before = seen_by(layout, next.first, next.first);
        for (Index i = 0; i < seats_.count; ++i)
            caches_[std::size_t(i)].make_room(layout.count(seats_.first + i, before),
                                              numbers(layout, i, next), room_at(layout, i, room, portion));
    }

    /// Forgets all tokens, for a document that begins with [0, seq_len), and makes room for those that tokens
    /// to come see: returns their positions.
    IndexRange start(const StreamLayout& layout, Index seq_len, Index room, Index portion) {
        const IndexRange seen = seen_by(layout, seq_len, seq_len);
        for (Index i = 0; i < seats_.count; ++i) {
            const TokenPositions places = numbers(layout, i, seen);
            caches_[std::size_t(i)].forget(places.first);
            caches_[std::size_t(i)].make_room(0, places, room_at(layout, i, room, portion));
        }
        return seen;
    }

    /// Forgets all tokens, and keeps the memory.
    void forget() {
        for (KeyValueCache<T>& cache : caches_) cache.forget(0);
    }

    /// What this rank's seat number i has of the tokens at these positions, for which there are places.
    KeyValues<T> at(const StreamLayout& layout, Index i, const IndexRange& positions) {
        return runs<T>(*this, layout, i, positions);
    }
    KeyValues<const T> at(const StreamLayout& layout, Index i, const IndexRange& positions) const {
        return runs<const T>(*this, layout, i, positions);
    }

    /// Copies there, of those that seat number i has, what `from` has, rounded where they are kept so.
    void keep(const StreamLayout& layout, Index i, const IndexRange& positions,
              const KeyValueView<const T>& from) {
        for (const KeyValueView<T>& places : at(layout, i, positions))
            detail::copy_to_places<T>(from, places, heads_);
    }

    /// What tokens at positions from `first` on see of those before `end`.
    IndexRange seen_by(const StreamLayout& layout, Index first, Index end) const {
        const Index begin = window_ > 0 ? std::max(layout.first(), first - (window_ - 1)) : layout.first();
        return {begin, end - begin};
    }

    /// This rank's.
    const IndexRange& seats() const { return seats_; }
    Index window() const { return window_; }

    Index bytes() const {
        Index sum = 0;
        for (const KeyValueCache<T>& cache : caches_) sum += cache.bytes();
        return sum;
    }

  private:
    /// Of those of the tokens that sit at seat number i.
    TokenPositions numbers(const StreamLayout& layout, Index i, const IndexRange& tokens) const {
        const Index seat = seats_.first + i;
        return {layout.count_before(seat, tokens.first), layout.count(seat, tokens)};
    }

    Index room_at(const StreamLayout& layout, Index i, Index room, Index portion) const {
        const Index of_document = layout.count_before(seats_.first + i, layout.first() + room);
        if (window_ == 0) return of_document;
        return std::min(of_document, layout.most_of(window_ - 1) + layout.most_of(portion));
    }

    template <class Number>
    static KeyValues<Number> runs(auto& self, const StreamLayout& layout, Index i,
                                  const IndexRange& positions) {
        KeyValues<Number> views;
        Index next = self.numbers(layout, i, positions).first;
        for (const TokenPositions& run : layout.tokens(self.seats_.first + i, positions)) {
            views.push_back(self.caches_[std::size_t(i)].at({next, run.count}));
            views.back().tokens = run;
            next += run.count;
        }
        return views;
    }

    Index heads_;
    Index window_;
    IndexRange seats_;
    std::vector<KeyValueCache<T>> caches_;
};

}  // namespace ring_attention::inline RING_ATTENTION_ABI
