#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include <ring_attention/attention/plan.hpp>
#include <ring_attention/attention/score_function.hpp>
#include <ring_attention/attention/tile.hpp>
#include <ring_attention/kernels/tanh.hpp>

RING_ATTENTION_PRECISE_BEGIN
namespace ring_attention::inline RING_ATTENTION_ABI {

/// What is added to the scores of a rank's queries beside what the plan says.
template <class T>
struct ScoreTerms {
    const T* sinks = nullptr;  ///< [heads]: a score more in the softmax of each query, without a value
    SeatHeads<const T> bias;   ///< at each seat, for each query head [tokens, key_len]; empty: none
    ScoreFunctionReference<T> function;  ///< of the sum so far
};

namespace detail {

/// What becomes of the scores of a block of queries between product and softmax. Where nothing does they stay
/// products, which the softmax scales; else they are scaled here.
template <Real T>
class BlockScores {
    static constexpr Index lanes = AttentionTile<T>::lanes, max_queries = 16 * lanes;

  public:
    /// The rows are those of key-value head number `batch_head`; group: how many query heads it has.
    BlockScores(const AttentionPlan& plan, const ScoreTerms<T>& terms, Index seat, Index batch_head,
                Index group, const TokenPositions& tokens, const IndexRange& rows)
        : plan_(plan.score),
          terms_(terms),
          bias_(terms.bias.empty() ? HeadsView<const T>() : terms.bias[std::size_t(seat)]),
          group_(group),
          first_head_(batch_head * group),
          first_row_(rows.first) {
        plain_ = !may_hide() && !capped() && !sloping();
        capped_alone_ = !may_hide() && capped() && !sloping();
        if (plain_ || capped_alone_) return;
        base_ = tokens.position(rows.first / group);
        for (Index i = 0; i < rows.count; ++i) {
            const Index number = first_head_ + head_of(i);
            ScorePlace& place = places_[std::size_t(i)];
            place = {number / plan.heads.heads, number % plan.heads.heads, tokens.position(token_of(i)), 0};
            position_[std::size_t(i)] = T(place.query - base_);
            if (sloping()) slope_[std::size_t(i)] = T(plan_.alibi_slopes[std::size_t(place.head)]);
        }
        std::fill(position_.begin() + rows.count, position_.end(), T(0));
        std::fill(slope_.begin() + rows.count, slope_.end(), T(0));
    }

    bool plain() const { return plain_; }

    bool capped() const { return plan_.softcap > 0; }
    bool sloping() const { return !plan_.alibi_slopes.empty(); }

    /// Whether the cap is all that happens to the scores: then the softmax may cap them, which raises no
    /// score above another. They stay parts of the cap.
    bool capped_alone() const { return capped_alone_; }

    /// Whether a score may become -infinity, which hides the key from the query as the mask does.
    bool may_hide() const { return has_bias() || has_function(); }

    bool has_bias() const { return bias_.data != nullptr; }
    bool has_function() const { return bool(terms_.function); }

    /// What the softmax is to scale the scores with.
    T scale() const { return plain_ ? T(plan_.scale) : capped_alone_ ? T(plan_.softcap) : T(1); }

    /// What queries are to be multiplied with, so that products of capped scores are parts of the cap.
    T query_factor() const { return capped() ? T(plan_.scale / plan_.softcap) : T(1); }

    /// The scores of a tile of keys, those of the chunk's `key_tokens` from `first_key` on, and of `count`
    /// queries from row `first` of the block on, (keys, stride). Derivatives, (keys, stride) too, are wanted
    /// where there is a place for them. maximum (lanes): to be raised by the scores of keys that all queries
    /// see.
    void apply(T* scores, Index stride, Index first, Index count, const TokenPositions& key_tokens,
               Index first_key, const IndexRange& keys, T* cap_derivatives, T* function_derivatives,
               T* maximum = nullptr) const {
        std::array<Index, std::size_t(AttentionTile<T>::keys)> positions;
        if (sloping() || may_hide())
            for (Index key = keys.first; key < keys.end(); ++key)
                positions[std::size_t(key)] = key_tokens.position(first_key + key);
        const ScoreTile<T> tile{scores, stride, keys, count, positions.data(), &places_[std::size_t(first)]};
        T* const last_maximum = may_hide() ? nullptr : maximum;
        if (capped() && sloping())
            change_scores<true, true>(tile, first, cap_derivatives, last_maximum);
        else if (capped())
            change_scores<true, false>(tile, first, cap_derivatives, last_maximum);
        else if (sloping())
            change_scores<false, true>(tile, first, cap_derivatives, last_maximum);
        else
            change_scores<false, false>(tile, first, cap_derivatives, last_maximum);
        if (has_bias()) add_bias(tile, first);
        if (has_function()) terms_.function(tile, function_derivatives);
        if (maximum && may_hide()) raise_maximum(tile, maximum);
    }

    /// Adds numbers of a tile to a tensor like the bias.
    void add_to_bias(const T* numbers, Index stride, Index first, Index count,
                     const TokenPositions& key_tokens, Index first_key, const IndexRange& keys,
                     const HeadsView<T>& sums) const {
        for (Index lane = 0; lane < count; ++lane) {
            T* const row = &sums(first_head_ + head_of(first + lane))(token_of(first + lane), 0);
            for (Index key = keys.first; key < keys.end(); ++key)
                row[key_tokens.position(first_key + key)] += numbers[key * stride + lane];
        }
    }

  private:
    Index token_of(Index row) const { return (first_row_ + row) / group_; }
    Index head_of(Index row) const { return (first_row_ + row) % group_; }

    /// score := scale score, or capped, less the slope times the distance. Distances are exact below 2^24.
    template <bool with_cap, bool with_slope>
    void change_scores(const ScoreTile<T>& tile, Index first, T* cap_derivatives, T* maximum) const {
        const Simd<T> scale(T(plan_.scale));
        const ScaledTanh<T> cap(capped_alone_ ? T(1) : T(plan_.softcap));
        std::array<T, std::size_t(AttentionTile<T>::keys)> key_positions;
        if constexpr (with_slope)
            for (Index key = tile.keys.first; key < tile.keys.end(); ++key)
                key_positions[std::size_t(key)] = T(tile.key_positions[key] - base_);
        for (Index lane = 0; lane < tile.lanes; lane += Simd<T>::width) {
            Simd<T> position(T(0)), minus_slope(T(0));
            if constexpr (with_slope) {
                position = Simd<T>::load(&position_[std::size_t(first + lane)]);
                minus_slope = -Simd<T>::load(&slope_[std::size_t(first + lane)]);
            }
            Simd<T> largest(-std::numeric_limits<T>::infinity());
            for (Index key = tile.keys.first; key < tile.keys.end(); ++key) {
                T* const score = tile.scores + key * tile.stride + lane;
                Simd<T> value = Simd<T>::load(score);
                if constexpr (with_cap) {
                    const Simd<T> part = value;
                    value = cap(part);
                    if (cap_derivatives)
                        tanh_derivative(part).store(cap_derivatives + key * tile.stride + lane);
                } else {
                    value = value * scale;
                }
                if constexpr (with_slope) {
                    const Simd<T> distance = abs(Simd<T>(key_positions[std::size_t(key)]) - position);
                    value = fma(minus_slope, distance, value);
                }
                value.store(score);
                largest = max(value, largest);
            }
            if (maximum) max(largest, Simd<T>::load(maximum + lane)).store(maximum + lane);
        }
    }

    static void raise_maximum(const ScoreTile<T>& tile, T* maximum) {
        for (Index lane = 0; lane < tile.lanes; lane += Simd<T>::width) {
            Simd<T> largest = Simd<T>::load(maximum + lane);
            for (Index key = tile.keys.first; key < tile.keys.end(); ++key)
                largest = max(Simd<T>::load(tile.scores + key * tile.stride + lane), largest);
            largest.store(maximum + lane);
        }
    }

    /// A score to which -infinity is added is -infinity, whatever it was.
    void add_bias(const ScoreTile<T>& tile, Index first) const {
        constexpr T hidden = -std::numeric_limits<T>::infinity();
        for (Index lane = 0; lane < tile.lanes; ++lane) {
            const T* const row = &bias_(first_head_ + head_of(first + lane))(token_of(first + lane), 0);
            for (Index key = tile.keys.first; key < tile.keys.end(); ++key) {
                T& score = tile.scores[key * tile.stride + lane];
                const T added = row[tile.key_positions[key]];
                score = added == hidden ? hidden : score + added;
            }
        }
    }

    const ScoreOptions& plan_;
    const ScoreTerms<T>& terms_;
    HeadsView<const T> bias_;
    Index group_, first_head_, first_row_, base_ = 0;
    bool plain_, capped_alone_;
    // Of each row, where more than a cap changes the scores.
    alignas(64) std::array<T, std::size_t(max_queries)> position_, slope_;
    std::array<ScorePlace, std::size_t(max_queries)> places_;
};

}  // namespace detail

}  // namespace ring_attention::inline RING_ATTENTION_ABI
RING_ATTENTION_PRECISE_END
