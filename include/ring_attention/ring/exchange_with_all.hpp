#pragma once

#include <cstddef>
#include <span>

#include <ring_attention/ring/ring_reference.hpp>

namespace ring_attention::inline RING_ATTENTION_ABI {

/// One hop, in which every rank sends `own` to all others, and what another one has comes to of_rank(rank).
void exchange_with_all(RingReference ring, Channel channel, std::span<const std::byte> own, auto&& of_rank) {
    HopMessages messages{channel};
    for (int hops = 1; hops < ring.ranks(); ++hops) {
        const int from = (ring.rank() + ring.ranks() - hops) % ring.ranks();
        messages.send((ring.rank() + hops) % ring.ranks(), own);
        messages.receive(from, of_rank(from));
    }
    if (!messages.outgoing.empty() || !messages.incoming.empty()) ring.start_hop(messages).finish();
}

}  // namespace ring_attention::inline RING_ATTENTION_ABI
