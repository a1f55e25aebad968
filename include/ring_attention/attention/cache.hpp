#pragma once

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
        : shape_(shape), keys_(0, shape.head_dim), values_(0, shape.head_dim) {}

    /// Room for so many tokens; the first `used` stay. Throws std::bad_alloc where there is not so much
    /// memory.
    void reserve(Index tokens, Index used) {
        if (tokens <= room_) return;
        using detail::product_of_sizes;
        const Index heads = product_of_sizes(shape_.batch, shape_.heads);
        Matrix<T> keys(product_of_sizes(heads, tokens), shape_.head_dim), values(keys.rows(), keys.cols());
        for (Index batch_head = 0; batch_head < shape_.batch_heads(); ++batch_head) {
            keys.middleRows(batch_head * tokens, used) = keys_.middleRows(batch_head * room_, used);
            values.middleRows(batch_head * tokens, used) = values_.middleRows(batch_head * room_, used);
        }
        keys_.swap(keys);
        values_.swap(values);
        room_ = tokens;
    }

    /// The places of these tokens, to be written.
    KeyValueView<T> at(const TokenPositions& tokens) {
        return {tokens, heads<T>(keys_.data(), tokens), heads<T>(values_.data(), tokens)};
    }

    /// All tokens up to the last of these.
    KeyValueView<const T> up_to(const TokenPositions& tokens) const {
        const TokenPositions all{0, tokens.first + tokens.count};
        return {all, heads<const T>(keys_.data(), all), heads<const T>(values_.data(), all)};
    }

    Index bytes() const { return (keys_.size() + values_.size()) * Index(sizeof(T)); }

  private:
    template <class Number>
    HeadsView<Number> heads(Number* numbers, const TokenPositions& tokens) const {
        return HeadsView<Number>::head_by_head(numbers, shape_, room_, shape_.head_dim)
            .middle_tokens(tokens.first, tokens.count);
    }

    HeadShape shape_;
    Index room_ = 0;           // tokens
    Matrix<T> keys_, values_;  // [batch * heads * room, head_dim]
};

}  // namespace ring_attention::inline RING_ATTENTION_ABI
