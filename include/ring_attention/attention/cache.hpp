#pragma once

#include <algorithm>

#include <ring_attention/attention/heads.hpp>
#include <ring_attention/core/types.hpp>

namespace ring_attention::inline RING_ATTENTION_ABI {

/// Keys and values of one attention layer, kept for the tokens to come: for each key-value head of each batch
/// entry a run of rows. Where the mask has a window, those that no token to come sees make room for others.
template <class T>
class KeyValueCache {
  public:
    /// window: a token sees itself and the window - 1 tokens before it; 0: all.
    explicit KeyValueCache(const HeadShape& shape, Index window = 0)
        : shape_(shape), window_(window), keys_(0, shape.key_width), values_(0, shape.value_width) {}

    /// A place for the tokens `next`, at most `portion`; what they see of those before them stays. There is
    /// room for `room` tokens in all, or with a window for it and a portion, where that is less. Throws
    /// std::bad_alloc where there is not so much memory, and changes nothing.
    void make_room(const TokenPositions& next, Index room, Index portion) {
        const Index held = next.first - first_;
        if (window_ > 0) room = std::min(room, window_ - 1 + portion);
        const Index kept = window_ > 0 ? std::min(held, window_ - 1) : held;
        if (room > room_) {
            const Index rows = detail::product_of_sizes(
                detail::product_of_sizes(shape_.batch, shape_.key_value_heads), room);
            Matrix<T> keys(rows, shape_.key_width), values(rows, shape_.value_width);
            move_tokens(keys_, keys, room, held - kept, kept);
            move_tokens(values_, values, room, held - kept, kept);
            keys_.swap(keys);
            values_.swap(values);
            room_ = room;
        } else if (held + next.count > room_) {
            move_tokens(keys_, keys_, room_, held - kept, kept);
            move_tokens(values_, values_, room_, held - kept, kept);
        } else {
            return;
        }
        first_ = next.first - kept;
    }

    /// Forgets all tokens, and keeps the memory; the next is at this position.
    void forget(Index next_position) { first_ = next_position; }

    /// Forgets all tokens. A place for those tokens of a sequence that tokens to come see, its last ones, to
    /// be written; room and portion as above.
    KeyValueView<T> start_with(Index seq_len, Index room, Index portion) {
        const Index kept = window_ > 0 ? std::min(seq_len, window_ - 1) : seq_len;
        const TokenPositions seen{seq_len - kept, kept};
        forget(seen.first);
        make_room(seen, room, portion);
        return at(seen);
    }

    /// The places of these tokens, to be written.
    KeyValueView<T> at(const TokenPositions& tokens) {
        return {tokens, heads<T>(keys_, tokens), heads<T>(values_, tokens)};
    }

    /// All tokens that are kept, up to the last of these.
    KeyValueView<const T> up_to(const TokenPositions& tokens) const {
        const TokenPositions all{first_, tokens.first + tokens.count - first_};
        return {all, heads<const T>(keys_, all), heads<const T>(values_, all)};
    }

    Index window() const { return window_; }
    Index bytes() const { return (keys_.size() + values_.size()) * Index(sizeof(T)); }

  private:
    template <class Number>
    HeadsView<Number> heads(auto& numbers, const TokenPositions& tokens) const {
        return HeadsView<Number>::head_by_head(numbers.data(), shape_.key_value_heads, room_, numbers.cols())
            .middle_tokens(tokens.first - first_, tokens.count);
    }

    /// Of each head `count` rows, those from `first` on, to the front, perhaps of other memory with another
    /// room.
    void move_tokens(const Matrix<T>& from, Matrix<T>& to, Index room, Index first, Index count) const {
        const Index width = from.cols();
        for (Index head = 0; count > 0 && head < shape_.batch_key_value_heads(); ++head)
            std::copy_n(from.data() + (head * room_ + first) * width, count * width,
                        to.data() + head * room * width);
    }

    HeadShape shape_;
    Index window_;
    Index first_ = 0;          // position of the first token that is kept
    Index room_ = 0;           // tokens
    Matrix<T> keys_, values_;  // [batch * key-value heads * room, width]
};

}  // namespace ring_attention::inline RING_ATTENTION_ABI
