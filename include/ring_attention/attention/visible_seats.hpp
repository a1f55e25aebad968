#pragma once

#include <cstddef>

#include <ring_attention/attention/heads.hpp>
#include <ring_attention/attention/mask.hpp>

namespace ring_attention::inline RING_ATTENTION_ABI::detail {

/// At a hop: the queries of which seat see some key of which visiting seat.
class VisibleSeats {
  public:
    VisibleSeats() = default;

    template <class T>
    VisibleSeats(const Mask& mask, const List<TokenPositions>& queries, const KeyValues<const T>& visitors)
        : num_visitors_(visitors.size()) {
        sees_.reserve(queries.size() * num_visitors_);
        for (const TokenPositions& tokens : queries)
            for (const KeyValueView<const T>& chunk : visitors)
                sees_.push_back(mask.any_visible(tokens, chunk.tokens));
    }

    bool operator()(Index query_seat, Index visitor) const {
        return sees_[std::size_t(query_seat) * num_visitors_ + std::size_t(visitor)];
    }

  private:
    std::size_t num_visitors_ = 0;
    List<char> sees_;
};

}  // namespace ring_attention::inline RING_ATTENTION_ABI::detail
