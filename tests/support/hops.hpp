#pragma once

#include <span>
#include <vector>

#include <ring_attention/ring/ring.hpp>

namespace support {

namespace ra = ring_attention;

inline int rank_after(const auto& ring) {
    return (ring.rank() + 1) % ring.ranks();
}
inline int rank_before(const auto& ring) {
    return (ring.rank() + ring.ranks() - 1) % ring.ranks();
}

/// A hop around the ring: to the rank before, and from the rank after.
auto start_round(ra::Ring auto& ring, ra::Channel channel, std::span<const std::byte> sent,
                 std::span<std::byte> received) {
    ra::HopMessages messages{channel};
    messages.send(rank_before(ring), sent);
    messages.receive(rank_after(ring), received);
    return ring.start_hop(messages);
}

/// One hop in which every rank sends every rank, itself too, two messages: whether all arrive, those between
/// the same two ranks in their order.
bool all_messages_arrive(ra::Ring auto& ring) {
    const auto number = [](int from, int to, int which) { return 1000 * from + 10 * to + which; };
    const auto places = std::size_t(2 * ring.ranks());
    std::vector<int> sent(places), received(places, -1), expected(places);
    ra::HopMessages messages{ra::Channel::gradient};
    for (int peer = 0; peer < ring.ranks(); ++peer)
        for (const int which : {0, 1}) {
            const auto at = std::size_t(2 * peer + which);
            sent[at] = number(ring.rank(), peer, which);
            expected[at] = number(peer, ring.rank(), which);
            messages.send(peer, std::as_bytes(std::span(sent).subspan(at, 1)));
            messages.receive(peer, std::as_writable_bytes(std::span(received).subspan(at, 1)));
        }
    ring.start_hop(messages).finish();
    return received == expected;
}

}  // namespace support
