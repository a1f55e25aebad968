#pragma once

#include <algorithm>
#include <cstddef>

#include <ring_attention/attention/forward_travel.hpp>
#include <ring_attention/attention/key_pieces.hpp>
#include <ring_attention/attention/seat_queries.hpp>

namespace ring_attention::inline RING_ATTENTION_ABI::detail {

/// Few queries of a rank on their way: what they get from the keys of a visit is merged, in ring order, into
/// what they have.
template <Real T>
class FewQueriesForward {
  public:
    /// All of these are to outlive it.
    FewQueriesForward(const AttentionPlan& plan, const SeatQueries<T>& queries,
                      const SeatAttention<T>& result)
        : plan_(plan), queries_(queries), result_(result) {
        for (const TokenPositions& tokens : queries.tokens)
            most_rows_ = std::max(most_rows_, rows_of(tokens));
        so_far_ = Buffer<T>(Index(queries.tokens.size()) * heads() * size());
    }

    void meet(const HopVisit& visit, const KeyValues<const T>& visitors) {
        KeyPieces<T> pieces(plan_, queries_.terms, queries_.tokens, queries_.query);
        for (Index seat = 0; seat < Index(queries_.tokens.size()); ++seat)
            for (Index batch_head = 0; batch_head < heads(); ++batch_head) {
                pieces.begin_block(seat, batch_head);
                for (const HopPhase phase : visit.phases) {
                    const IndexRange seats = visitors_to_meet(phase, seat, Index(visitors.size()));
                    for (Index visitor = seats.first; visitor < seats.end(); ++visitor)
                        pieces.add(visitors[std::size_t(visitor)]);
                }
            }
        pieces.attend([&](Index block, Index seat, Index batch_head) {
            const PartialAttention<T> sum{so_far_.data() + block * size(),
                                          rows_of(queries_.tokens[std::size_t(seat)]),
                                          plan_.heads.value_width};
            if (visit.first) {
                sum.set_empty();
                sum.set_sinks(queries_.terms.sinks, batch_head, plan_.heads);
            }
            pieces.merge_into(sum, block);
            if (visit.last) finish(sum, seat, batch_head);
        });
    }

  private:
    Index heads() const { return plan_.heads.batch_key_value_heads(); }
    Index size() const { return PartialAttention<T>::size(most_rows_, plan_.heads.value_width); }
    Index rows_of(const TokenPositions& tokens) const { return tokens.count * plan_.heads.group(); }

    void finish(const PartialAttention<T>& sum, Index seat, Index batch_head) const {
        const auto rows = [&](const SeatHeads<T>& of_seats) {
            return of_seats[std::size_t(seat)].group_rows(batch_head, plan_.heads.group());
        };
        for (Index row = 0; row < sum.rows; ++row)
            sum.finish(row, rows(result_.output).row(row), *rows(result_.log_sum_exp).row(row),
                       result_.log_sum_exp_rest.empty() ? nullptr : rows(result_.log_sum_exp_rest).row(row));
    }

    const AttentionPlan& plan_;
    const SeatQueries<T>& queries_;
    const SeatAttention<T>& result_;
    Index most_rows_ = 0;  // of a block
    Buffer<T> so_far_;     // a state for each block
};

}  // namespace ring_attention::inline RING_ATTENTION_ABI::detail
