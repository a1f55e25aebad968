#pragma once

#include <type_traits>

#include <ring_attention/attention/stored_rows.hpp>
#include <ring_attention/core/memory.hpp>
#include <ring_attention/kernels/matrix_view.hpp>
#include <ring_attention/sequence/token_positions.hpp>

namespace ring_attention::inline RING_ATTENTION_ABI {

/// What the heads of an attention are. Query head h reads key-value head h / group(): so a number
/// batch * heads + h of a query head is that of its key-value head times group(), and what is left.
struct HeadShape {
    Index batch = 0;
    Index heads = 0;            ///< of queries
    Index key_value_heads = 0;  ///< divides heads
    Index key_width = 0;        ///< of a query and of a key
    Index value_width = 0;      ///< of a value and of an output

    Index group() const { return heads / key_value_heads; }
    Index batch_heads() const { return batch * heads; }
    Index batch_key_value_heads() const { return batch * key_value_heads; }
};

namespace detail {

/// The queries of a group of heads, or what belongs to them, as rows: token by token, and of a token head by
/// head. So rows that see the same keys are neighbours.
template <class T>
struct GroupRows {
    T* data = nullptr;  ///< of row 0 where `first` is 0
    Index group = 1, head_stride = 0, token_stride = 0, width = 0;
    Index first = 0, count = 0;

    T* row(Index i) const {
        return data + (first + i) / group * token_stride + (first + i) % group * head_stride;
    }

    /// The rows of a group of one.
    MatrixView<T> matrix() const { return {data + first * token_stride, count, width, token_stride, 1}; }

    GroupRows middle_rows(Index from, Index how_many) const {
        return {data, group, head_stride, token_stride, width, first + from, how_many};
    }
};

}  // namespace detail

/// Queries, keys, values or outputs at a seat, wherever they lie: for each head of each batch entry a matrix
/// [tokens, width].
template <class T>
struct HeadsView {
    T* data = nullptr;
    Index heads = 0, tokens = 0, width = 0;
    Index batch_stride = 0, head_stride = 0, token_stride = 0;
    Index first_head = 0;  ///< what is head 0 here: number batch * heads + head of what lies there

    /// A head's tokens one after the other: [batch, heads, tokens, width].
    static HeadsView head_by_head(T* data, Index heads, Index tokens, Index width) {
        return {data, heads, tokens, width, heads * tokens * width, tokens * width, width};
    }

    /// A token's heads one after the other: [batch, tokens, heads, width], `token_stride` between two tokens.
    static HeadsView token_by_token(T* data, Index heads, Index tokens, Index width, Index token_stride) {
        return {data, heads, tokens, width, tokens * token_stride, width, token_stride};
    }

    /// [tokens, width] of head number batch * heads + head.
    detail::MatrixView<T> operator()(Index batch_head) const {
        const Index number = first_head + batch_head;
        return {data + number / heads * batch_stride + number % heads * head_stride, tokens, width,
                token_stride, 1};
    }

    /// What a token has of a head, where the first head is number 0.
    T* row(Index batch, Index head, Index token) const {
        return data + batch * batch_stride + head * head_stride + token * token_stride;
    }

    /// Of the query heads that read key-value head number `batch_head`.
    detail::GroupRows<T> group_rows(Index batch_head, Index group) const {
        return {(*this)(batch_head * group).data, group, head_stride, token_stride, width, 0, tokens * group};
    }

    /// Head number `first` and those after it.
    HeadsView from_head(Index first) const {
        HeadsView part = *this;
        part.first_head += first;
        return part;
    }

    HeadsView middle_tokens(Index first, Index count) const {
        HeadsView part = *this;
        part.data += first * token_stride;
        part.tokens = count;
        return part;
    }

    operator HeadsView<const T>() const requires(!std::is_const_v<T>) {
        return {data, heads, tokens, width, batch_stride, head_stride, token_stride, first_head};
    }
};

/// Keys and values at a seat, or their gradients.
template <class T>
struct KeyValueView {
    TokenPositions tokens;
    HeadsView<T> key{}, value{};  ///< as Storage::computing
    Storage storage = Storage::computing;
    HeadsView<detail::Bfloat16Like<T>> rounded_key{}, rounded_value{};  ///< as Storage::bfloat16

    /// Of head number batch * heads + head.
    detail::StoredRows<T> key_rows(Index batch_head) const {
        if (storage == Storage::computing) return key(batch_head);
        return rounded_key(batch_head);
    }
    detail::StoredRows<T> value_rows(Index batch_head) const {
        if (storage == Storage::computing) return value(batch_head);
        return rounded_value(batch_head);
    }

    KeyValueView from_head(Index first) const {
        return {tokens,  key.from_head(first),         value.from_head(first),
                storage, rounded_key.from_head(first), rounded_value.from_head(first)};
    }

    operator KeyValueView<const T>() const requires(!std::is_const_v<T>) {
        return {tokens, key, value, storage, rounded_key, rounded_value};
    }
};

/// Keys and values at all seats of a rank, in the order of the seats.
template <class T>
using KeyValues = List<KeyValueView<T>>;

/// Heads at all seats of a rank, in the order of the seats.
template <class T>
using SeatHeads = List<HeadsView<T>>;

}  // namespace ring_attention::inline RING_ATTENTION_ABI
