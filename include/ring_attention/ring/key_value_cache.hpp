#pragma once

#include <limits>
#include <new>

#include <ring_attention/core/types.hpp>
#include <ring_attention/kernels/mask.hpp>
#include <ring_attention/kernels/matrix_view.hpp>
#include <ring_attention/ring/travellers.hpp>

namespace ring_attention {

/// Keys and values of one attention layer, kept for the tokens to come: for each head of each batch entry a
/// run of rows, with room for as many tokens as were last reserved. It does not know how many it holds; the
/// stream does.
template <class T>
class KeyValueCache {
  public:
    explicit KeyValueCache(const HeadShape& shape)
        : shape_(shape), keys_(0, shape.head_dim), values_(0, shape.head_dim) {}

    const HeadShape& shape() const { return shape_; }

    /// Room for so many tokens; the first `used` stay. Throws std::bad_alloc where there is not so much
    /// memory.
    void reserve(Index tokens, Index used) {
        if (tokens <= room_) return;
        const Index bytes_a_token = shape_.batch_heads() * shape_.head_dim * Index(sizeof(T));
        if (tokens > std::numeric_limits<Index>::max() / bytes_a_token) throw std::bad_alloc();
        Matrix<T> keys(shape_.batch_heads() * tokens, shape_.head_dim), values(keys.rows(), keys.cols());
        for (Index batch_head = 0; batch_head < shape_.batch_heads(); ++batch_head) {
            keys.middleRows(batch_head * tokens, used) = keys_.middleRows(batch_head * room_, used);
            values.middleRows(batch_head * tokens, used) = values_.middleRows(batch_head * room_, used);
        }
        keys_.swap(keys);
        values_.swap(values);
        room_ = tokens;
    }

    /// Keeps keys and values of these tokens, each [batch * heads * tokens, head_dim].
    void put(const TokenRun& tokens, const Matrix<T>& keys, const Matrix<T>& values) {
        for (Index batch_head = 0; batch_head < shape_.batch_heads(); ++batch_head) {
            const Index from = batch_head * tokens.count, to = batch_head * room_ + tokens.first;
            keys_.middleRows(to, tokens.count) = keys.middleRows(from, tokens.count);
            values_.middleRows(to, tokens.count) = values.middleRows(from, tokens.count);
        }
    }

    /// The first `count` of one head of one batch entry, [count, head_dim].
    MatrixView<const T> key(Index batch_head, Index count) const {
        return view(keys_).middle_rows(batch_head * room_, count);
    }
    MatrixView<const T> value(Index batch_head, Index count) const {
        return view(values_).middle_rows(batch_head * room_, count);
    }

    Index bytes() const { return (keys_.size() + values_.size()) * Index(sizeof(T)); }

  private:
    HeadShape shape_;
    Index room_ = 0;           // tokens
    Matrix<T> keys_, values_;  // [batch * heads * room, head_dim]
};

}  // namespace ring_attention
