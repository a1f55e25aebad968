#pragma once

#include <algorithm>

#include <ring_attention/attention/message.hpp>
#include <ring_attention/ring/exchange_with_all.hpp>

namespace ring_attention::inline RING_ATTENTION_ABI::detail {

/// Copies keys and values to the places of their tokens, where these have one: all that `from` has of the
/// positions between the first and the last of the places.
template <class T>
void copy_to_places(const KeyValueView<const T>& from, const KeyValueView<T>& places, Index heads) {
    const TokenPositions& to = places.tokens;
    if (to.count == 0) return;
    const Index first = to.position(0);
    const IndexRange seen = from.tokens.indices({first, to.position(to.count - 1) + 1 - first});
    parallel_for(heads, [&](Index head) {
        const auto copy = [&](const StoredRows<const T>& rows, const StoredRows<T>& copies) {
            for (Index i = seen.first; i < seen.end(); ++i)
                copy_row(rows, i, copies, to.count_up_to(from.tokens.position(i)) - 1);
        };
        copy(from.key_rows(head), places.key_rows(head));
        copy(from.value_rows(head), places.value_rows(head));
    });
}

/// Keys and values of a sequence, of which every rank of the ring has its own, to the places of some
/// tokens, on all ranks alike.
template <class T>
void gather_key_values(RingReference ring, const Share& share, const HeadShape& shape,
                       const KeyValueMessage<T>& own, const KeyValues<T>& all_places) {
    const auto copy = [&](const KeyValueMessage<T>& message) {
        for (Index seat = 0; seat < message.num_seats(); ++seat)
            for (const KeyValueView<T>& places : all_places)
                copy_to_places<T>(message[seat], places, shape.batch_key_value_heads());
    };
    copy(own);
    List<KeyValueMessage<T>> of_others;
    of_others.reserve(std::size_t(ring.ranks() - 1));
    for (int hops = 1; hops < ring.ranks(); ++hops)
        of_others.push_back({share.of_neighbour(hops), shape, own.storage()});
    exchange_with_all(ring, Channel::collective, own.bytes(), [&](int rank) {
        const int hops = (rank + ring.ranks() - ring.rank()) % ring.ranks();
        return of_others[std::size_t(hops - 1)].bytes();
    });
    for (const KeyValueMessage<T>& other : of_others) copy(other);
}

}  // namespace ring_attention::inline RING_ATTENTION_ABI::detail
