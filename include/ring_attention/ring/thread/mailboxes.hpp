#pragma once

#include <algorithm>
#include <condition_variable>
#include <cstddef>
#include <deque>
#include <exception>
#include <map>
#include <mutex>
#include <span>
#include <string>
#include <tuple>
#include <vector>

#include <ring_attention/core/error.hpp>
#include <ring_attention/ring/ring_log.hpp>

namespace ring_attention::inline RING_ATTENTION_ABI::detail {

/// Where the ranks of a ThreadRing leave their messages for each other.
class Mailboxes {
  public:
    explicit Mailboxes(int ranks) : ended_(std::size_t(ranks), false) {}

    /// arrival: when the message is there, by the clock of a ring with emulated links.
    void put(int from, int to, Channel channel, std::span<const std::byte> message, double arrival) {
        const std::lock_guard lock(mutex_);
        boxes_[{from, to, channel}].push_back({{message.begin(), message.end()}, arrival});
        changed_.notify_all();
    }

    /// Waits for the next message, and returns its arrival. Throws RingError where it cannot come any more,
    /// or is not of the expected size.
    double take(int from, int to, Channel channel, std::span<std::byte> message) {
        std::unique_lock lock(mutex_);
        auto& box = boxes_[{from, to, channel}];
        changed_.wait(lock, [&] { return failure_ || !box.empty() || ended_[std::size_t(from)]; });
        const std::string who = "rank " + std::to_string(to) + " waits for rank " + std::to_string(from);
        if (failure_) throw RingError(who + ", but a rank has failed");
        if (box.empty()) throw RingError(who + ", which has ended");
        const auto& [bytes, arrival] = box.front();
        if (bytes.size() != message.size())
            throw RingError(who + ": the message has " + std::to_string(bytes.size()) + " bytes, expected " +
                            std::to_string(message.size()) + "; the ranks disagree on what they compute");
        std::copy(bytes.begin(), bytes.end(), message.begin());
        const double arrived = arrival;
        box.pop_front();
        return arrived;
    }

    /// A rank is done, well or with an error. The first error ends all waiting.
    void end(int rank, std::exception_ptr failure) {
        const std::lock_guard lock(mutex_);
        ended_[std::size_t(rank)] = true;
        if (failure && !failure_) failure_ = failure;
        changed_.notify_all();
    }

    std::exception_ptr failure() {
        const std::lock_guard lock(mutex_);
        return failure_;
    }

  private:
    struct Message {
        std::vector<std::byte> bytes;
        double arrival;
    };

    std::mutex mutex_;
    std::condition_variable changed_;
    std::map<std::tuple<int, int, Channel>, std::deque<Message>> boxes_;
    std::vector<bool> ended_;
    std::exception_ptr failure_;
};

}  // namespace ring_attention::inline RING_ATTENTION_ABI::detail
