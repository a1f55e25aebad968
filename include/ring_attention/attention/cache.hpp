#pragma once

#include <limits>
#include <new>

#include <ring_attention/attention/heads.hpp>
#include <ring_attention/core/types.hpp>

namespace ring_attention::inline RING_ATTENTION_ABI {

/// Keys and values of one attention layer, kept for the tokens to come: for each head of each batch entry a
/// run of rows, with room for as many tokens as were last reserved. It does not know how many it holds; the
/// stream does.
template <class T>
class KeyValueCache {
  public:
    explicit KeyValueCache(const HeadShape& shape)
        : shape_(shape), keys_(0, shape.key_width), values_(0, shape.value_width) {}

    /// Room for so many tokens; the first `used` stay. Throws std::bad_alloc where there is not so much
    /// memory.
    void reserve(Index tokens, Index used) {
        if (tokens <= room_) return;
        const Index heads = shape_.batch_key_value_heads();
        const Index bytes_a_token = heads * std::max(shape_.key_width, shape_.value_width) * Index(sizeof(T));
        if (tokens > std::numeric_limits<Index>::max() / bytes_a_token) throw std::bad_alloc();
        Matrix<T> keys(heads * tokens, shape_.key_width), values(heads * tokens, shape_.value_width);
        for (Index batch_head = 0; batch_head < heads; ++batch_head) {
            keys.middleRows(batch_head * tokens, used) = keys_.middleRows(batch_head * room_, used);
            values.middleRows(batch_head * tokens, used) = values_.middleRows(batch_head * room_, used);
        }
        keys_.swap(keys);
        values_.swap(values);
        room_ = tokens;
    }

    /// The places of these tokens, to be written.
    KeyValueView<T> at(const TokenPositions& tokens) {
        return {tokens, heads<T>(keys_, tokens), heads<T>(values_, tokens)};
    }

    /// All tokens up to the last of these.
    KeyValueView<const T> up_to(const TokenPositions& tokens) const {
        const TokenPositions all{0, tokens.first + tokens.count};
        return {all, heads<const T>(keys_, all), heads<const T>(values_, all)};
    }

    Index bytes() const { return (keys_.size() + values_.size()) * Index(sizeof(T)); }

  private:
    template <class Number>
    HeadsView<Number> heads(auto& numbers, const TokenPositions& tokens) const {
        return HeadsView<Number>::head_by_head(numbers.data(), shape_.key_value_heads, room_, numbers.cols())
            .middle_tokens(tokens.first, tokens.count);
    }

    HeadShape shape_;
    Index room_ = 0;           // tokens
    Matrix<T> keys_, values_;  // [batch * key-value heads * room, width]
};

}  // namespace ring_attention::inline RING_ATTENTION_ABI
