#pragma once

#include <algorithm>
#include <bit>
#include <deque>
#include <span>
#include <utility>

#include <ring_attention/ring/ring.hpp>

namespace ring_attention::inline RING_ATTENTION_ABI {

namespace detail {

/// Takes the sums so far from one rank and hands them on to another, part by part: while a part is looked at,
/// the next ones are on their way here, and the ones before on theirs from here. From or to nobody: -1.
template <class Ring>
class SumParts {
  public:
    SumParts(Ring& ring, std::span<std::byte> sums, int from, int to)
        : ring_(ring),
          sums_(sums),
          from_(from),
          to_(to),
          part_size_(std::clamp(std::bit_floor(sums.size() / std::size_t(4 * ring.ranks())), smallest_part,
                                largest_part)) {}

    /// Calls look(part, offset) for each.
    void pass(auto&& look) {
        for (std::size_t offset = 0; offset < sums_.size(); offset += part_size_) {
            receive_ahead();
            if (from_ >= 0) finish_first(arriving_);
            look(part(offset), offset);
            if (to_ < 0) continue;
            if (leaving_.size() >= ahead) finish_first(leaving_);
            leaving_.push_back(ring_.start_send(to_, Channel::collective, part(offset)));
        }
        while (!leaving_.empty()) finish_first(leaving_);
    }

  private:
    static constexpr std::size_t smallest_part = std::size_t(1) << 14, largest_part = std::size_t(1) << 18,
                                 ahead = 4;
    using Message =
        decltype(std::declval<Ring&>().start_send(0, Channel::collective, std::span<const std::byte>()));

    std::span<std::byte> part(std::size_t offset) const {
        return sums_.subspan(offset, std::min(part_size_, sums_.size() - offset));
    }

    void receive_ahead() {
        for (; from_ >= 0 && arriving_.size() < ahead && next_ < sums_.size(); next_ += part_size_)
            arriving_.push_back(ring_.start_receive(from_, Channel::collective, part(next_)));
    }

    static void finish_first(std::deque<Message>& messages) {
        messages.front().finish();
        messages.pop_front();
    }

    Ring& ring_;
    std::span<std::byte> sums_;
    int from_, to_;
    std::size_t part_size_;  ///< small enough that all ranks are at work most of the time
    std::size_t next_ = 0;   ///< the first part that is not on its way here
    std::deque<Message> arriving_, leaving_;
};

}  // namespace detail

/// Ring::sum_in_rank_order for rings that can start_send(rank, channel, bytes) and start_receive(rank,
/// channel, bytes): the sums run through the ranks in parts, so that the ranks work side by side.
template <class Ring>
void sum_parts_in_rank_order(Ring& ring, std::span<std::byte> sums, auto&& add) {
    const int rank = ring.rank(), last = ring.ranks() - 1;
    detail::SumParts(ring, sums, rank - 1, rank < last ? rank + 1 : -1).pass(add);
    if (last == 0) return;
    // The result goes from the last rank to 0, 1, ..., last - 1.
    const int from = rank == last ? -1
                     : rank == 0  ? last
                                  : rank - 1,
              to = rank == last       ? 0
                   : rank == last - 1 ? -1
                                      : rank + 1;
    detail::SumParts(ring, sums, from, to).pass([](std::span<std::byte>, std::size_t) {});
}

}  // namespace ring_attention::inline RING_ATTENTION_ABI
