#pragma once

#include <algorithm>

#include <ring_attention/attention/message.hpp>
#include <ring_attention/ring/ring_reference.hpp>

namespace ring_attention::inline RING_ATTENTION_ABI::detail {

/// Copies keys and values to the places of their tokens, where these have one.
template <class T>
void copy_to_places(const KeyValueMessage<T>& from, const KeyValueView<T>& places, Index heads) {
    for (Index seat = 0; seat < from.num_seats(); ++seat) {
        const KeyValueView<const T> at_seat = from[seat];
        const IndexRange seen = at_seat.tokens.indices({places.tokens.first, places.tokens.count});
        parallel_for(heads, [&](Index head) {
            const auto copy = [&](const StoredRows<const T>& rows, const StoredRows<T>& to) {
                for (Index i = seen.first; i < seen.end(); ++i)
                    copy_row(rows, i, to, at_seat.tokens.position(i) - places.tokens.first);
            };
            copy(at_seat.key_rows(head), places.key_rows(head));
            copy(at_seat.value_rows(head), places.value_rows(head));
        });
    }
}

/// Keys and values of a sequence, of which every rank of the ring has its own, to places for the last tokens
/// of it, on all ranks alike.
template <class T>
void gather_key_values(RingReference ring, const Share& share, const HeadShape& shape,
                       const KeyValueMessage<T>& own, const KeyValueView<T>& places) {
    copy_to_places(own, places, shape.batch_key_value_heads());
    List<KeyValueMessage<T>> of_others;
    of_others.reserve(std::size_t(ring.ranks() - 1));
    HopMessages messages{Channel::collective};
    for (int hops = 1; hops < ring.ranks(); ++hops) {
        const int before = ring.ranks() - hops;  // so many hops on is as many hops back
        of_others.push_back({share.of_neighbour(before), shape, own.storage()});
        messages.send((ring.rank() + hops) % ring.ranks(), own.bytes());
        messages.receive((ring.rank() + before) % ring.ranks(), of_others.back().bytes());
    }
    ring.start_hop(messages).finish();
    for (const KeyValueMessage<T>& other : of_others)
        copy_to_places(other, places, shape.batch_key_value_heads());
}

}  // namespace ring_attention::inline RING_ATTENTION_ABI::detail
