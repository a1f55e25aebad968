#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include <ring_attention/ring/timeline.hpp>

namespace ring_attention::inline RING_ATTENTION_ABI {

/// Messages of one channel arrive in the order in which they were sent; those of two channels do not wait for
/// each other.
enum class Channel { collective, key_value, gradient };

/// Messages of a channel, and their bytes.
struct Traffic {
    std::uint64_t messages = 0;
    std::uint64_t bytes = 0;
    bool operator==(const Traffic&) const = default;
};

/// What a rank has sent, and, while there is a timeline, when it did what.
struct RingLog {
    std::array<Traffic, 3> sent{};  ///< by channel
    Timeline* timeline = nullptr;   ///< not owned

    const Traffic& sent_on(Channel channel) const { return sent[std::size_t(channel)]; }

    void count_sent(Channel channel, std::size_t bytes) {
        Traffic& traffic = sent[std::size_t(channel)];
        ++traffic.messages;
        traffic.bytes += bytes;
    }
};

}  // namespace ring_attention::inline RING_ATTENTION_ABI
