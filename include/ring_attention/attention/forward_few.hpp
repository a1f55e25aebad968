#pragma once

#include <algorithm>
#include <cstddef>

#include <ring_attention/attention/few_queries.hpp>
#include <ring_attention/attention/forward_travel.hpp>
#include <ring_attention/attention/seat_queries.hpp>
#include <ring_attention/core/parallel.hpp>

namespace ring_attention::inline RING_ATTENTION_ABI::detail {

/// Whether `queries` tokens, those of all ranks, are to meet their keys as FewQueries do. It depends on
/// nothing that ranks or threads have to do with, for the bits of the two ways differ.
template <class T>
bool are_few(Index queries, const AttentionPlan& plan) {
    return queries * plan.heads.group() <= FewQueries<T>::max_rows && plan.mask.key_len >= 4 * queries;
}

/// Few queries of a rank on their way: every piece of keys gives a state, in memory of its own and on
/// whatever thread; then they are merged in ring order.
template <Real T>
class FewQueriesForward {
  public:
    /// All of these are to outlive it.
    FewQueriesForward(const AttentionPlan& plan, const SeatQueries<T>& queries,
                      const SeatAttention<T>& result)
        : plan_(plan), queries_(queries), result_(result) {
        for (const TokenPositions& tokens : queries.tokens)
            most_rows_ = std::max(most_rows_, tokens.count * plan.heads.group());
        size_ = PartialAttention<T>::size(most_rows_, plan.heads.value_width);
        so_far_ = Buffer<T>(num_blocks() * size_);
    }

    void meet(const HopVisit& visit, const KeyValues<const T>& visitors) {
        find_pieces(visit, visitors);
        parts_ = Buffer<T>(Index(pieces_.size()) * size_);
        parallel_for(Index(pieces_.size()), [&](Index i) {
            const auto& [block, visitor, piece] = pieces_[std::size_t(i)];
            const auto [seat, batch_head] = place_of(block);
            const KeyValueView<const T>& chunk = visitors[std::size_t(visitor)];
            FewQueries<T>(plan_, queries_.terms, seat, batch_head, queries_.query[std::size_t(seat)],
                          queries_.tokens[std::size_t(seat)])
                .attend(chunk.key_rows(batch_head), chunk.value_rows(batch_head), chunk.tokens, piece,
                        state(parts_, i, block));
        });
        parallel_for_in_runs(num_blocks(), 8, [&](Index block) { merge_pieces(block, visit); });
    }

  private:
    /// The queries at a seat that read one key-value head.
    struct Place {
        Index seat, batch_head;
    };
    struct PieceOfBlock {
        Index block, visitor;
        KeyPiece keys;
    };

    Index num_blocks() const { return Index(queries_.tokens.size()) * plan_.heads.batch_key_value_heads(); }

    Place place_of(Index block) const {
        const Index heads = plan_.heads.batch_key_value_heads();
        return {block / heads, block % heads};
    }

    /// Number i of those that lie in the memory.
    PartialAttention<T> state(const Buffer<T>& memory, Index i, Index block) const {
        const Index tokens = queries_.tokens[std::size_t(place_of(block).seat)].count;
        return {memory.data() + i * size_, tokens * plan_.heads.group(), plan_.heads.value_width};
    }

    /// Block by block, and of a block in ring order.
    void find_pieces(const HopVisit& visit, const KeyValues<const T>& visitors) {
        pieces_.clear();
        end_of_block_.clear();
        for (Index block = 0; block < num_blocks(); ++block) {
            const auto [seat, batch_head] = place_of(block);
            const TokenPositions& tokens = queries_.tokens[std::size_t(seat)];
            const Index batch = batch_head / plan_.heads.key_value_heads;
            for (const HopPhase phase : visit.phases) {
                const IndexRange seats = visitors_to_meet(phase, seat, Index(visitors.size()));
                for (Index visitor = seats.first; tokens.count > 0 && visitor < seats.end(); ++visitor) {
                    const TokenPositions& chunk = visitors[std::size_t(visitor)].tokens;
                    KeyPiece::for_each(chunk, FewQueries<T>::seen_by_some(plan_.mask, batch, tokens, chunk),
                                       [&](const KeyPiece& keys) {
                                           pieces_.push_back({block, visitor, keys});
                                       });
                }
            }
            end_of_block_.push_back(Index(pieces_.size()));
        }
    }

    void merge_pieces(Index block, const HopVisit& visit) const {
        const auto place = place_of(block);
        const Index seat = place.seat, batch_head = place.batch_head;  // clang++ 14 captures no binding
        const PartialAttention<T> sum = state(so_far_, block, block);
        const auto rows_of = [&](const SeatHeads<T>& heads) {
            return heads[std::size_t(seat)].group_rows(batch_head, plan_.heads.group());
        };
        if (visit.first) {
            sum.set_empty();
            for (Index row = 0; queries_.terms.sinks && row < sum.rows; ++row) {
                const Index group = plan_.heads.group(), head = batch_head * group + row % group;
                sum.set_sink(row, queries_.terms.sinks[head % plan_.heads.heads]);
            }
        }
        const Index first = block == 0 ? 0 : end_of_block_[std::size_t(block - 1)];
        for (Index i = first; i < end_of_block_[std::size_t(block)]; ++i)
            merge<T>(sum, state(parts_, i, block));
        for (Index row = 0; visit.last && row < sum.rows; ++row)
            sum.finish(
                row, rows_of(result_.output).row(row), *rows_of(result_.log_sum_exp).row(row),
                result_.log_sum_exp_rest.empty() ? nullptr : rows_of(result_.log_sum_exp_rest).row(row));
    }

    const AttentionPlan& plan_;
    const SeatQueries<T>& queries_;
    const SeatAttention<T>& result_;
    Index most_rows_ = 0, size_;  // of the blocks; of a state's memory
    Buffer<T> so_far_, parts_;    // a state for each block; for each piece
    List<PieceOfBlock> pieces_;
    List<Index> end_of_block_;  // where its pieces end
};

}  // namespace ring_attention::inline RING_ATTENTION_ABI::detail
