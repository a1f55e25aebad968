#pragma once

#include <algorithm>
#include <cstddef>

#include <ring_attention/attention/few_queries.hpp>
#include <ring_attention/core/parallel.hpp>

namespace ring_attention::inline RING_ATTENTION_ABI::detail {

/// Whether `queries` tokens, those of all ranks, are to meet their keys as FewQueries do. It depends on
/// nothing that ranks or threads have to do with, for the bits of the two ways differ.
template <class T>
bool are_few(Index queries, const AttentionPlan& plan) {
    return queries * plan.heads.group() <= FewQueries<T>::max_rows && plan.mask.key_len >= 4 * queries;
}

/// What blocks of few queries meet: every piece of keys is a task, on whatever thread, and gives a state in
/// memory of its own; those of a block are merged in the order in which its keys were named.
template <Real T>
class KeyPieces {
  public:
    /// tokens, query: of each seat. All of these are to outlive it.
    KeyPieces(const AttentionPlan& plan, const ScoreTerms<T>& terms, const List<TokenPositions>& tokens,
              const SeatHeads<const T>& query)
        : plan_(plan), terms_(terms), tokens_(tokens), query_(query) {
        for (const TokenPositions& of_seat : tokens)
            size_ = std::max(size_, PartialAttention<T>::size(rows_of(of_seat), plan.heads.value_width));
    }

    /// The next block: the queries at a seat that read one key-value head.
    void begin_block(Index seat, Index batch_head) {
        blocks_.push_back({seat, batch_head, Index(pieces_.size()), Index(pieces_.size())});
    }

    /// The next keys that it meets; they are to outlive this.
    void add(const KeyValueView<const T>& keys) {
        Block& block = blocks_.back();
        const TokenPositions& tokens = tokens_[std::size_t(block.seat)];
        if (tokens.count == 0) return;
        const Index batch = block.batch_head / plan_.heads.key_value_heads;
        KeyPiece::for_each(keys.tokens, FewQueries<T>::keys_seen(plan_.mask, batch, tokens, keys.tokens),
                           [&](const KeyPiece& piece) {
                               pieces_.push_back({Index(blocks_.size()) - 1, &keys, piece});
                           });
        block.end = Index(pieces_.size());
    }

    /// All blocks meet their keys; then finish(block, seat, batch_head) may merge_into.
    void attend(auto&& finish) {
        states_ = Buffer<T>(Index(pieces_.size()) * size_);
        parallel_for(Index(pieces_.size()), [&](Index i) {
            const auto& [number, keys, piece] = pieces_[std::size_t(i)];
            const auto& [seat, head, first, end] = blocks_[std::size_t(number)];
            FewQueries<T>(plan_, terms_, seat, head, query_[std::size_t(seat)], tokens_[std::size_t(seat)])
                .attend(keys->key_rows(head), keys->value_rows(head), keys->tokens, piece, state(i, seat));
        });
        parallel_for_in_runs(Index(blocks_.size()), 8, [&](Index number) {
            const Block& block = blocks_[std::size_t(number)];
            finish(number, block.seat, block.batch_head);
        });
    }

    /// The states of a block go, one after the other, into `sum`.
    void merge_into(const PartialAttention<T>& sum, Index number) const {
        const Block& block = blocks_[std::size_t(number)];
        for (Index i = block.first; i < block.end; ++i) merge<T>(sum, state(i, block.seat));
    }

  private:
    struct Block {
        Index seat, batch_head;
        Index first, end;  // of the pieces
    };
    struct Piece {
        Index block;
        const KeyValueView<const T>* keys;
        KeyPiece piece;
    };

    Index rows_of(const TokenPositions& tokens) const { return tokens.count * plan_.heads.group(); }

    PartialAttention<T> state(Index i, Index seat) const {
        return {states_.data() + i * size_, rows_of(tokens_[std::size_t(seat)]), plan_.heads.value_width};
    }

    const AttentionPlan& plan_;
    const ScoreTerms<T>& terms_;
    const List<TokenPositions>& tokens_;
    const SeatHeads<const T>& query_;
    Index size_ = 0;  // of a state's memory
    List<Block> blocks_;
    List<Piece> pieces_;
    Buffer<T> states_;
};

}  // namespace ring_attention::inline RING_ATTENTION_ABI::detail
