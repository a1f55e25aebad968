#pragma once

#include <ring_attention/attention/heads.hpp>
#include <ring_attention/attention/plan.hpp>

namespace ring_attention::inline RING_ATTENTION_ABI {

// The numbers of a rank as attention sees them, where they lie a seat after the other.

/// The positions of a rank's queries, seat by seat.
inline List<TokenPositions> query_tokens(const AttentionPlan& plan) {
    List<TokenPositions> tokens;
    tokens.reserve(std::size_t(plan.queries.num_seats()));
    for (Index seat = 0; seat < plan.queries.num_seats(); ++seat) tokens.push_back(plan.query_tokens(seat));
    return tokens;
}

/// At each seat [batch, tokens, heads, width], `token_stride` from one token to the next.
template <class T>
SeatHeads<T> token_by_token(T* numbers, const List<TokenPositions>& seats, Index batch, Index heads,
                            Index width, Index token_stride) {
    SeatHeads<T> views;
    views.reserve(seats.size());
    for (const TokenPositions& tokens : seats) {
        views.push_back(HeadsView<T>::token_by_token(numbers, heads, tokens.count, width, token_stride));
        numbers += batch * tokens.count * token_stride;
    }
    return views;
}

/// At each seat [batch, heads, tokens, width].
template <class T>
SeatHeads<T> head_by_head(T* numbers, const List<TokenPositions>& seats, Index batch, Index heads,
                          Index width) {
    SeatHeads<T> views;
    views.reserve(seats.size());
    for (const TokenPositions& tokens : seats) {
        views.push_back(HeadsView<T>::head_by_head(numbers, heads, tokens.count, width));
        numbers += batch * heads * tokens.count * width;
    }
    return views;
}

/// Keys and values of a rank, or their gradients.
template <class T>
KeyValues<T> key_values(const Share& share, const SeatHeads<T>& key, const SeatHeads<T>& value) {
    KeyValues<T> views;
    views.reserve(key.size());
    for (std::size_t seat = 0; seat < key.size(); ++seat)
        views.push_back({share.tokens(Index(seat)), key[seat], value[seat]});
    return views;
}

/// The keys alone.
template <class T>
SeatHeads<T> keys_of(const KeyValues<T>& key_value) {
    SeatHeads<T> keys;
    keys.reserve(key_value.size());
    for (const KeyValueView<T>& seat : key_value) keys.push_back(seat.key);
    return keys;
}

/// The positions of keys and values, seat by seat.
template <class T>
List<TokenPositions> positions_of(const KeyValues<T>& key_value) {
    List<TokenPositions> positions;
    positions.reserve(key_value.size());
    for (const KeyValueView<T>& seat : key_value) positions.push_back(seat.tokens);
    return positions;
}

}  // namespace ring_attention::inline RING_ATTENTION_ABI
