#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <limits>
#include <span>
#include <utility>

#include <ring_attention/attention/heads.hpp>
#include <ring_attention/attention/log_sum_exp.hpp>
#include <ring_attention/attention/paired_products.hpp>
#include <ring_attention/attention/partial_attention.hpp>
#include <ring_attention/attention/scores.hpp>
#include <ring_attention/attention/tile.hpp>
#include <ring_attention/kernels/exp2.hpp>
#include <ring_attention/kernels/few_rows.hpp>
#include <ring_attention/kernels/reduce.hpp>

RING_ATTENTION_PRECISE_BEGIN
namespace ring_attention::inline RING_ATTENTION_ABI::detail {

// Attention of a few queries, forward: they wait for keys and values to come from memory, so all queries that
// read the same meet them once, as they lie. A chunk's keys are cut into pieces, each of which gives a state
// of its own; merged in the order of the keys they are the attention to all.

/// Keys of a chunk that are one task. The cuts are at fixed distances from position 0 (where the chunk's
/// tokens are neighbours), so that they do not depend on where the chunk begins.
struct KeyPiece {
    static constexpr Index size = 512;

    IndexRange keys;   ///< by their index in the chunk
    Index offset = 0;  ///< of the first one in the piece

    /// Calls f(KeyPiece) for all pieces that hold some of the keys `seen`, in rising order.
    static void for_each(const TokenPositions& chunk, const IndexRange& seen, auto&& f) {
        const Index shift = chunk.first % size;
        for (Index first = seen.first; first < seen.end();) {
            const Index offset = (first + shift) % size, count = std::min(size - offset, seen.end() - first);
            f(KeyPiece{{first, count}, offset});
            first += count;
        }
    }
};

/// All queries at one seat that read one key-value head. The memory is the thread's: one at a time on a
/// thread.
template <Real T>
class FewQueries {
    static constexpr Index width = Simd<T>::width, stride = KeyPiece::size + width;

  public:
    static constexpr Index max_rows = 16;

    /// As QueryBlock, and all rows of the seat.
    FewQueries(const AttentionPlan& plan, const ScoreTerms<T>& terms, Index seat, Index batch_head,
               const HeadsView<const T>& query, const TokenPositions& tokens)
        : mask_(plan.mask),
          tokens_(tokens),
          group_(plan.heads.group()),
          batch_(batch_head / plan.heads.key_value_heads),
          rows_(tokens.count * group_),
          scores_of_(plan, terms, seat, batch_head, group_, tokens, {0, rows_}),
          scale_(base2_scale(scores_of_.scale())) {
        const Index key_width = plan.heads.key_width, padded = ceil_div(key_width, width) * width;
        T* const memory = workspace<T, Workspace::attention>().require(
            rows_ * (padded + stride) + AttentionTile<T>::keys * tile_stride());
        query_ = {memory, rows_, padded, padded, 1};
        scores_ = memory + rows_ * padded;
        tile_ = scores_ + rows_ * stride;
        const auto given = query.group_rows(batch_head, group_);
        for (Index row = 0; row < rows_; ++row) {
            T* const to = &query_(row, 0);
            std::fill(std::copy_n(given.row(row), key_width, to), to + padded, T(0));
            multiply_numbers<T>(to, key_width, scores_of_.query_factor());
            if constexpr (can_pair<T>)  // as the blocks of many queries and backward have them
                if (rounds_queries<T>(plan)) round_in_place(to, padded);
        }
    }

    /// Which keys of a chunk some of the rows see: in one run, with those between.
    static IndexRange keys_seen(const Mask& mask, Index batch, const TokenPositions& queries,
                                const TokenPositions& keys) {
        std::array<IndexRange, std::size_t(max_rows)> of_tokens;
        const auto seen = std::span(of_tokens).first(std::size_t(queries.count));
        find_seen(mask, batch, queries, 1, 0, keys, seen);
        return seen_by_some(seen.front(), seen.back());
    }

    /// The attention to a piece of a chunk; keys (N, D) and values (N, Dv) are the chunk's.
    void attend(const StoredRows<const T>& keys, const StoredRows<const T>& values,
                const TokenPositions& key_tokens, const KeyPiece& piece, const PartialAttention<T>& result) {
        result.set_empty();
        find_seen_of(key_tokens, piece);
        if (any_.count == 0) return;
        const Index first_key = piece.keys.first - piece.offset;  // that of offset 0
        keys.middle_rows(first_key + any_.first, any_.count).visit([&](const auto& some) {
            multiply_few_rows<T>(query_, some, scores_ + any_.first, stride);
        });
        if (!scores_of_.plain()) apply_terms(key_tokens, first_key);
        for (Index row = 0; row < rows_; ++row) {
            hide_unseen(row);
            scores_to_weights(scores_ + row * stride, result.maximum(row), result.sum(row));
        }
        values.middle_rows(first_key + any_.first, any_.count).visit([&](const auto& some) {
            add_values(some, {result.output(0), rows_, result.value_width, result.value_width, 1});
        });
    }

  private:
    /// Of a tile of scores, (keys, rows), as BlockScores takes them.
    Index tile_stride() const { return scores_of_.plain() ? 0 : ceil_div(rows_, width) * width; }

    /// From here on keys are counted by their offset in the piece.
    void find_seen_of(const TokenPositions& key_tokens, const KeyPiece& piece) {
        const auto seen = std::span(seen_).first(std::size_t(rows_));
        find_seen(mask_, batch_, tokens_, group_, 0, key_tokens, seen);
        for (IndexRange& of_row : seen) {
            const Index first = std::clamp(of_row.first, piece.keys.first, piece.keys.end()),
                        end = std::clamp(of_row.end(), first, piece.keys.end());
            of_row = {first - piece.keys.first + piece.offset, end - first};
        }
        any_ = seen_by_some(seen.front(), seen.back()), all_ = seen_by_all(seen.front(), seen.back());
    }

    /// What else the scores are to become, a tile of keys after the other.
    void apply_terms(const TokenPositions& key_tokens, Index first_key) {
        const Index tile_stride = this->tile_stride();
        std::fill_n(tile_, AttentionTile<T>::keys * tile_stride, T(0));
        for (Index first = any_.first; first < any_.end(); first += AttentionTile<T>::keys) {
            const IndexRange keys{0, std::min(AttentionTile<T>::keys, any_.end() - first)};
            const auto for_each = [&](auto&& f) {
                for (Index row = 0; row < rows_; ++row)
                    for (Index key = 0; key < keys.count; ++key)
                        f(scores_[row * stride + first + key], tile_[key * tile_stride + row]);
            };
            for_each([](T score, T& of_tile) { of_tile = score; });
            scores_of_.apply(tile_, tile_stride, 0, rows_, key_tokens, first_key + first, keys, nullptr,
                             nullptr);
            for_each([](T& score, T of_tile) { score = of_tile; });
        }
    }

    /// Keys that the row does not see get -infinity, and so does what fills the vectors at both ends.
    void hide_unseen(Index row) {
        constexpr T hidden = -std::numeric_limits<T>::infinity();
        T* const scores = scores_ + row * stride;
        const IndexRange seen = seen_[std::size_t(row)], vectors = whole_vectors();
        std::fill(scores + vectors.first, scores + std::min(seen.first, vectors.end()), hidden);
        std::fill(scores + std::max(seen.end(), vectors.first), scores + vectors.end(), hidden);
    }

    /// They begin at multiples of the width from the beginning of the piece: so sums do not depend on where
    /// the keys begin.
    IndexRange whole_vectors() const {
        const Index first = any_.first / width * width;
        return {first, ceil_div(any_.end(), width) * width - first};
    }

    /// Scores of a row become weights 2^(score scale - maximum).
    void scores_to_weights(T* scores, T& maximum, T& sum) const {
        const IndexRange vectors = whole_vectors();
        const Simd<T> nothing(-std::numeric_limits<T>::infinity()), scale(scale_);
        Simd<T> largest = nothing, total(T(0));
        for (Index key = vectors.first; key < vectors.end(); key += width)
            largest = max(Simd<T>::load(scores + key), largest);  // a NaN is left out
        maximum = max(Simd<T>(horizontal_max(largest) * scale_), nothing).lanes[0];
        // Nothing but -infinity: -infinity - 0 gives the weight 0, -infinity - -infinity NaN.
        const Simd<T> shift(maximum > nothing.lanes[0] ? maximum : T(0));
        for (Index key = vectors.first; key < vectors.end(); key += width) {
            const Simd<T> weight = exp2_weight(fma(Simd<T>::load(scores + key), scale, -shift));
            weight.store(scores + key);
            total = total + weight;
        }
        sum = horizontal_sum(total);
    }

    /// values (N, Dv) of the keys any_. Where a weight may be 0 because the key is hidden, a value that is
    /// not finite is kept away from it.
    template <class Number>
    void add_values(MatrixView<const Number> values, MatrixView<T> output) const {
        const IndexRange whole = scores_of_.may_hide() ? IndexRange{} : all_;
        Index done = any_.first;
        const auto add_up_to = [&](Index key) {
            add_weighted_to_few_rows<T>({scores_ + done, rows_, key - done, stride, 1},
                                        values.middle_rows(done - any_.first, key - done), output);
            done = key;
        };
        for (Index key = any_.first; key < any_.end(); ++key) {
            if (key == whole.first && whole.count > 0) key = whole.end();
            if (key == any_.end()) break;
            const Number* const value = &values(key - any_.first, 0);
            if (all_finite(value, values.cols)) continue;
            add_up_to(key);
            add_wild(key, value, output);
            ++done;
        }
        add_up_to(any_.end());
    }

    template <class Number>
    void add_wild(Index key, const Number* value, MatrixView<T> output) const {
        for (Index row = 0; row < rows_; ++row) {
            const IndexRange seen = seen_[std::size_t(row)];
            const T weight = scores_[row * stride + key];
            if (key < seen.first || key >= seen.end() || (scores_of_.may_hide() && weight == T(0))) continue;
            for (Index i = 0; i < output.cols; ++i) output(row, i) += weight * T(value[i]);
        }
    }

    const Mask& mask_;
    TokenPositions tokens_;
    Index group_, batch_, rows_;
    BlockScores<T> scores_of_;
    T scale_;              // of the scores, times log2(e)
    MatrixView<T> query_;  // (M, D), padded with zeros to whole vectors
    T *scores_, *tile_;    // (M, keys of a piece); (keys, M) of a tile
    // Of the piece that is at work: what each row, some row, every row sees.
    std::array<IndexRange, std::size_t(max_rows)> seen_;
    IndexRange any_, all_;
};

}  // namespace ring_attention::inline RING_ATTENTION_ABI::detail
RING_ATTENTION_PRECISE_END
