#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <numbers>

#include <ring_attention/attention/tile.hpp>
#include <ring_attention/kernels/finite_rows.hpp>
#include <ring_attention/kernels/vector_math.hpp>

RING_ATTENTION_PRECISE_BEGIN
namespace ring_attention::inline RING_ATTENTION_ABI {

// Attention of one head, forward (online softmax; Milakov, Gimelshein 2018, 1805.02867, and Liu, Zaharia,
// Abbeel 2023, 2310.01889, algorithm 1). A query is a lane: scores, maxima, sums and outputs are kept
// transposed, so that nothing is ever summed across lanes, and keys and values are read as they lie, in rows.
//   scores^T = key query^T              (N,D) x (D,M) => (N,M)
//   weights^T = 2^(scores^T scale log2(e) - maximum)
//   output^T = output^T decay + value^T weights^T        (D,N) x (N,M) => (D,M)
// M queries of a tile, N keys of a tile.

namespace detail {

/// Stores the scores of a few keys. Where every query sees all of these, takes the largest of each.
template <Real T>
struct StoreScores {
    T* scores;          // (N, lanes)
    T* maximum;         // (lanes)
    Index seen_by_all;  // of the N keys

    StoreScores middle_rows(Index first, Index) const {
        return {scores + first * AttentionTile<T>::lanes, maximum, seen_by_all - first};
    }

    template <std::size_t rows, std::size_t vectors>
    [[gnu::always_inline]] void operator()(const Simd<T> (&sum)[rows][vectors]) const {
        unrolled<vectors>([&](auto v) {
            constexpr int lane = v * Simd<T>::width;
            unrolled<rows>([&](auto i) { sum[i][v].store(scores + i * AttentionTile<T>::lanes + lane); });
            if (seen_by_all < Index(rows)) return;
            Simd<T> largest = Simd<T>::load(maximum + lane);
            unrolled<rows>([&](auto i) { largest = max(sum[i][v], largest); });  // a NaN is left out
            largest.store(maximum + lane);
        });
    }
};

/// output^T = output^T decay + sum.
template <Real T>
struct DecayAndAdd {
    T* output;       // (D, lanes)
    const T* decay;  // (lanes)

    DecayAndAdd middle_rows(Index first, Index) const {
        return {output + first * AttentionTile<T>::lanes, decay};
    }

    template <std::size_t rows, std::size_t vectors>
    [[gnu::always_inline]] void operator()(const Simd<T> (&sum)[rows][vectors]) const {
        unrolled<vectors>([&](auto v) {
            constexpr int lane = v * Simd<T>::width;
            const Simd<T> factor = Simd<T>::load(decay + lane);
            unrolled<rows>([&](auto i) {
                T* const to = output + i * AttentionTile<T>::lanes + lane;
                fma(Simd<T>::load(to), factor, sum[i][v]).store(to);
            });
        });
    }
};

/// Scores of keys that a query does not see become -infinity; the others raise the maximum.
template <Real T>
void mask_scores(const VisibleKeys<T>& visible, T* scores, T* maximum) {
    constexpr int lanes = AttentionTile<T>::lanes;
    for (int lane = 0; lane < lanes; lane += Simd<T>::width) {
        Simd<T> largest = Simd<T>::load(maximum + lane);
        const Simd<T> count = Simd<T>::load(visible.count.data() + lane);
        for (Index j = visible.first_masked(); j < visible.any; ++j) {
            T* const score = scores + j * lanes + lane;
            const Simd<T> masked = select<T>(count > Simd<T>(T(j)), Simd<T>::load(score),
                                             Simd<T>(-std::numeric_limits<T>::infinity()));
            masked.store(score);
            largest = max(masked, largest);
        }
        largest.store(maximum + lane);
    }
}

}  // namespace detail

/// Up to `max_queries` queries of one head that absorb one chunk of keys and values after the other. The
/// memory is the thread's: one block at a time on a thread.
template <Real T>
class QueryBlock {
    using Tile = detail::AttentionTile<T>;
    static constexpr int lanes = Tile::lanes;

  public:
    static constexpr Index max_queries = 16 * lanes;

    /// query: (M, D); `tokens` are their places. scale: of the scores.
    QueryBlock(MatrixView<const T> query, const TokenPositions& tokens, T scale)
        : tokens_(tokens), head_dim_(query.cols), scale_(detail::base2_scale(scale)) {
        query_ = detail::workspace<T, detail::Workspace::attention>().require(
            (2 * head_dim_ + 2 + Tile::keys + 2) * max_queries);
        output_ = query_ + head_dim_ * max_queries;
        maximum_ = output_ + head_dim_ * max_queries;
        sum_ = maximum_ + max_queries;
        scores_ = sum_ + max_queries;
        decay_ = scores_ + Tile::keys * lanes;
        new_maximum_ = decay_ + lanes;
        detail::for_each_tile<T>(tokens_.count, [&](auto, Index first, Index count) {
            detail::pack_lanes<T>(query.middle_rows(first, count), query_ + first * head_dim_);
        });
        std::fill_n(output_, head_dim_ * max_queries, T(0));
        std::fill_n(maximum_, max_queries, -std::numeric_limits<T>::infinity());
        std::fill_n(sum_, max_queries, T(0));
    }

    /// keys, values: (N, D) of the chunk, at the places `key_tokens`.
    void absorb(MatrixView<const T> keys, MatrixView<const T> values, const TokenPositions& key_tokens,
                const Mask& mask) {
        if (mask.visible(tokens_.position(tokens_.count - 1), key_tokens) == 0) return;
        for (Index first_key = 0; first_key < keys.rows; first_key += Tile::keys) {
            const Index num_keys = std::min(Tile::keys, keys.rows - first_key);
            const MatrixView<const T> tile_values = close_together(values.middle_rows(first_key, num_keys));
            detail::for_each_tile<T>(tokens_.count, [&](auto vectors, Index first, Index count) {
                const detail::VisibleKeys<T> visible(mask, tokens_.middle(first, count), key_tokens,
                                                     first_key, num_keys);
                if (visible.any == 0) return;
                const auto key = keys.middle_rows(first_key, num_keys),
                           value = tile_values.middle_rows(0, visible.any);
                absorb_tile<vectors>(first, visible, key, value);
            });
        }
    }

    /// After the last chunk: output (M, D) is the mean of the values, log_sum_exp (M) that of the scores. A
    /// query that has seen nothing gets output 0 and -infinity. log_sum_exp_rest (M), if wanted, is what
    /// backward needs beside it; see there.
    void finish(MatrixView<T> output, T* log_sum_exp, T* log_sum_exp_rest = nullptr) {
        for (Index i = 0; i < tokens_.count; ++i)
            log_sum_exp[i] = T(double(maximum_[i]) * std::numbers::ln2 + std::log(double(sum_[i])));
        if (log_sum_exp_rest)
            for (Index i = 0; i < tokens_.count; ++i)
                log_sum_exp_rest[i] = detail::log_sum_exp_rest(log_sum_exp[i], maximum_[i], sum_[i]);
        detail::for_each_tile<T>(tokens_.count, [&](auto, Index first, Index) {
            for (Index lane = first; lane < first + lanes; lane += Simd<T>::width) {
                const Simd<T> sum = Simd<T>::load(sum_ + lane);
                const Simd<T> divisor =
                    select<T>(sum < Simd<T>(std::numeric_limits<T>::min()), Simd<T>(T(1)), sum);
                for (Index i = 0; i < head_dim_; ++i) {
                    T* const row = output_ + first * head_dim_ + i * lanes + lane - first;
                    (Simd<T>::load(row) / divisor).store(row);
                }
            }
        });
        write_output(output);
    }

    /// What is to be kept while other blocks use the memory: output (M, D), maximum (M), sum (M).
    void suspend(MatrixView<T> output, T* maximum, T* sum) const {
        write_output(output);
        std::copy_n(maximum_, tokens_.count, maximum);
        std::copy_n(sum_, tokens_.count, sum);
    }

    void resume(MatrixView<const T> output, const T* maximum, const T* sum) {
        detail::for_each_tile<T>(tokens_.count, [&](auto, Index first, Index count) {
            detail::pack_lanes<T>(output.middle_rows(first, count), output_ + first * head_dim_);
        });
        std::copy_n(maximum, tokens_.count, maximum_);
        std::copy_n(sum, tokens_.count, sum_);
    }

  private:
    /// Rows a multiple of 512 bytes apart fall on an eighth of the sets of a first cache or less, and would
    /// push each other out while all queries of the block read them: such are copied.
    MatrixView<const T> close_together(MatrixView<const T> rows) {
        if (rows.row_stride * Index(sizeof(T)) % 512 != 0) return rows;
        const Index spacing = rows.cols + 64 / Index(sizeof(T));
        T* const copy = detail::workspace<T, detail::Workspace::values>().require(Tile::keys * spacing);
        for (Index i = 0; i < rows.rows; ++i) std::copy_n(&rows(i, 0), rows.cols, copy + i * spacing);
        return {copy, rows.rows, rows.cols, spacing, 1};
    }

    template <int vectors>
    void absorb_tile(Index first, const detail::VisibleKeys<T>& visible, MatrixView<const T> key,
                     MatrixView<const T> value) {
        std::fill_n(new_maximum_, lanes, -std::numeric_limits<T>::infinity());
        detail::multiply_panel<vectors>(visible.scores_of(key.rows), detail::unpacked_strips<T>(key),
                                        query_ + first * head_dim_, lanes, detail::whole_depth(head_dim_),
                                        detail::StoreScores<T>{scores_, new_maximum_, visible.all});
        if (visible.all < visible.any) detail::mask_scores<T>(visible, scores_, new_maximum_);
        softmax<vectors>(first, visible.any);
        add_values<vectors>(first, visible, value);
    }

    /// The scores become weights; maximum and sum of the queries move on.
    template <int vectors>
    void softmax(Index first, Index num_keys) {
        const Simd<T> nothing(-std::numeric_limits<T>::infinity()), scale(scale_);
        Simd<T> shift[std::size_t(vectors)], total[std::size_t(vectors)];
        detail::unrolled<vectors>([&](auto v) {
            constexpr int lane = v * Simd<T>::width;
            T* const maximum = maximum_ + first + lane;
            const Simd<T> old = Simd<T>::load(maximum);
            const Simd<T> now = max(Simd<T>::load(new_maximum_ + lane) * scale, old);
            now.store(maximum);
            // Nothing but -infinity so far: -infinity - 0 gives the weight 0, -infinity - -infinity NaN.
            shift[v] = select<T>(now > nothing, now, Simd<T>(T(0)));
            exp2_weight(old - shift[v]).store(decay_ + lane);
            total[v] = Simd<T>(T(0));
        });
        for (Index j = 0; j < num_keys; ++j)
            detail::unrolled<vectors>([&](auto v) {
                T* const score = scores_ + j * lanes + v * Simd<T>::width;
                const Simd<T> weight = exp2_weight(fma(Simd<T>::load(score), scale, -shift[v]));
                weight.store(score);
                total[v] = total[v] + weight;
            });
        detail::unrolled<vectors>([&](auto v) {
            constexpr int lane = v * Simd<T>::width;
            T* const sum = sum_ + first + lane;
            fma(Simd<T>::load(sum), Simd<T>::load(decay_ + lane), total[v]).store(sum);
        });
    }

    template <int vectors>
    void add_values(Index first, const detail::VisibleKeys<T>& visible, MatrixView<const T> value) {
        const detail::FiniteRows<T> finite(value, visible.all);
        const MatrixView<const T> rows = finite.rows();
        T* const output = output_ + first * head_dim_;
        detail::multiply_panel<vectors>(head_dim_, detail::unpacked_strips<T>(rows.transposed()), scores_,
                                        lanes, detail::whole_depth(rows.rows),
                                        detail::DecayAndAdd<T>{output, decay_});
        for (const Index j : finite.wild())
            for (Index lane = 0; lane < lanes; ++lane)
                if (T(j) < visible.count[std::size_t(lane)])
                    for (Index i = 0; i < head_dim_; ++i)
                        output[i * lanes + lane] += scores_[j * lanes + lane] * value(j, i);
    }

    void write_output(MatrixView<T> output) const {
        detail::for_each_tile<T>(tokens_.count, [&](auto, Index first, Index count) {
            detail::unpack_lanes<T>(output_ + first * head_dim_, output.middle_rows(first, count));
        });
    }

    TokenPositions tokens_;
    Index head_dim_;
    T scale_;  // of the scores, times log2(e)
    // A tile behind the other: (D, lanes) each; (lanes) each.
    T *query_, *output_, *maximum_, *sum_;
    // Of the tile that is at work: (keys, lanes), (lanes), (lanes).
    T *scores_, *decay_, *new_maximum_;
};

}  // namespace ring_attention::inline RING_ATTENTION_ABI
RING_ATTENTION_PRECISE_END
