#pragma once

#include <algorithm>
#include <span>
#include <utility>

#include <ring_attention/core/memory.hpp>
#include <ring_attention/ring/ring_reference.hpp>

namespace ring_attention::inline RING_ATTENTION_ABI {

/// Pieces of memory one after the other, as if they were one.
template <class T>
class JoinedSpan {
  public:
    JoinedSpan() = default;
    JoinedSpan(std::span<T> piece) { add(piece); }

    void add(std::span<T> piece) {
        pieces_.push_back({piece, size_});
        size_ += piece.size();
    }

    std::size_t size() const { return size_; }

    /// Calls f(run, offset) for the runs of neighbours in memory that [first, first + count) consists of;
    /// offset is that of the run from `first`.
    void for_each_run(std::size_t first, std::size_t count, auto&& f) const {
        const std::size_t end = first + count;
        auto piece = std::upper_bound(pieces_.begin(), pieces_.end(), first,
                                      [](std::size_t at, const Piece& p) { return at < p.begin; });
        if (piece != pieces_.begin()) --piece;
        for (; piece != pieces_.end() && piece->begin < end; ++piece) {
            const std::size_t from = std::max(first, piece->begin),
                              to = std::min(end, piece->begin + piece->numbers.size());
            if (from < to) f(piece->numbers.subspan(from - piece->begin, to - from), from - first);
        }
    }

  private:
    struct Piece {
        std::span<T> numbers;
        std::size_t begin;
    };
    List<Piece> pieces_;
    std::size_t size_ = 0;
};

/// Adds to rank 0's total what the seats contribute, seat 0 first, and gives the result to every rank. Each
/// rank names what its own seats contribute, in seat order; each contribution has the size of the total.
template <class T>
void add_in_seat_order(RingReference ring, const JoinedSpan<T>& total, const List<JoinedSpan<const T>>& contributions) {
    List<T> sums(total.size());
    total.for_each_run(0, total.size(), [&](std::span<T> run, std::size_t offset) {
        std::copy(run.begin(), run.end(), sums.begin() + std::ptrdiff_t(offset));
    });
    sum_numbers_in_rank_order(ring, std::span(sums), [&](std::span<T> part, Index first) {
        for (const JoinedSpan<const T>& seat : contributions)
            seat.for_each_run(std::size_t(first), part.size(),
                              [&](std::span<const T> run, std::size_t offset) {
                                  for (std::size_t i = 0; i < run.size(); ++i) part[offset + i] += run[i];
                              });
    });
    total.for_each_run(0, total.size(), [&](std::span<T> run, std::size_t offset) {
        std::copy_n(sums.begin() + std::ptrdiff_t(offset), run.size(), run.begin());
    });
}

}  // namespace ring_attention::inline RING_ATTENTION_ABI
