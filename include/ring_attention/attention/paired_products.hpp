#pragma once

#include <algorithm>
#include <concepts>
#include <limits>

#include <ring_attention/attention/forward_tile.hpp>
#include <ring_attention/attention/plan.hpp>
#include <ring_attention/attention/softmax_tile.hpp>
#include <ring_attention/kernels/bfloat16_pairs.hpp>
#include <ring_attention/kernels/finite_rows.hpp>

RING_ATTENTION_PRECISE_BEGIN
namespace ring_attention::inline RING_ATTENTION_ABI::detail {

// Both products of attention forward, of keys and values that are kept as bfloat16 with queries and weights
// that are rounded to it; scores, maxima, sums and outputs are float. Pairs lie along the depth of a product:
//   query (D/2, lanes)    neighbours of a row; keys lie so as they are
//   weights (N/2, lanes), value (N/2, Dv)    neighbours among the keys; where one is lacking, 0

template <Real T>
inline constexpr bool can_pair = bfloat16_products&& std::same_as<T, float>;

/// Whether queries are rounded to bfloat16, with which the scores of a plan are computed, in backward too.
template <Real T>
bool rounds_queries(const AttentionPlan& plan) {
    return can_pair<T> && plan.storage == Storage::bfloat16 && plan.heads.key_width % 2 == 0;
}

/// Where the weights of two keys go: rounded, as they are summed too, so that outputs are true means.
struct StorePairedWeights {
    static constexpr int keys = 2;
    Bfloat16Pair* weights;  // (N/2, lanes)

    [[gnu::always_inline]] void operator()(Index key, int lane, Simd<float> (&weight)[keys]) const {
        const Bfloat16Pairs pairs = rounded_pairs(weight[0], weight[1]);
        pairs.store(weights + key / 2 * AttentionTile<float>::lanes + lane);
        weight[0] = pairs.first(), weight[1] = pairs.second();
    }
};

/// Values (N, Dv) to (N/2, Dv), `spacing` pairs from a row to the next.
inline MatrixView<const Bfloat16Pair> pair_keys(const MatrixView<const Bfloat16>& values, Index spacing,
                                                Bfloat16Pair* to) {
    for (Index key = 0; key < values.rows; key += 2)
        pair_rows(&values(key, 0), key + 1 < values.rows ? &values(key + 1, 0) : nullptr, values.cols,
                  to + key / 2 * spacing);
    return {to, ceil_div(values.rows, 2), values.cols, spacing, 1};
}

/// What a block of queries has of pairs. The memory is the thread's.
class PairedProducts {
    using Tile = AttentionTile<float>;
    static constexpr Index lanes = Tile::lanes;
    static_assert(Tile::keys % 2 == 0);

  public:
    void take_memory(const HeadShape& heads, Index max_queries) {
        pairs_of_key_ = heads.key_width / 2;
        // Not a multiple of 512 bytes, which would fall on few sets of the cache.
        spacing_ = heads.value_width % 128 == 0 ? heads.value_width + 16 : heads.value_width;
        query_ = workspace<Bfloat16Pair, Workspace::attention>().require(pairs_of_key_ * max_queries +
                                                                         Tile::keys / 2 * (lanes + spacing_));
        weights_ = query_ + pairs_of_key_ * max_queries;
        value_memory_ = weights_ + Tile::keys / 2 * lanes;
    }

    /// rows (D, lanes): a tile of queries, that of query `first` of the block.
    void set_queries(Index first, const float* rows) {
        for (Index i = 0; i < pairs_of_key_ * lanes; i += Simd<float>::width) {
            const float* const row = rows + i / lanes * 2 * lanes + i % lanes;
            rounded_pairs(Simd<float>::load(row), Simd<float>::load(row + lanes))
                .store(query_ + first * pairs_of_key_ + i);
        }
    }

    /// The keys (N, D) and values (N, Dv) that all queries are to meet next.
    void set_tile(const MatrixView<const Bfloat16>& keys, const MatrixView<const Bfloat16>& values) {
        key_ = pairs_of_rows(keys);
        value_ = values;
        paired_value_ = pair_keys(values, spacing_, value_memory_);
    }

    template <int vectors>
    void multiply_keys(Index first_query, const IndexRange& keys, const StoreScores<float>& store) const {
        multiply_panel<vectors>(
            keys.count, unpacked_strips<Bfloat16Pair>(key_.middle_rows(keys.first, keys.count)),
            query_ + first_query * pairs_of_key_, lanes, whole_depth(pairs_of_key_), store);
    }

    /// The scores (N, lanes), and the largest of them (lanes), become weights, and the mean of the values
    /// with them goes to the output (Dv, lanes). whole: the keys that no query is to leave out. zero_hides:
    /// as for add_wild_values.
    template <int vectors>
    void add_values(const Softmax<float>& softmax, const float* largest, float* scores,
                    const VisibleKeys<float>& visible, const IndexRange& whole, bool zero_hides,
                    float* output) const {
        const Index keys = visible.any.end(), pairs = ceil_div(keys, 2);
        if (keys % 2 != 0) std::fill_n(scores + keys * lanes, lanes, -std::numeric_limits<float>::infinity());
        scores_to_weights<vectors>(softmax, largest, scores, {0, 2 * pairs}, StorePairedWeights{weights_});
        // The last pair may have a key that no query sees.
        const FiniteRows<Bfloat16> finite(value_.middle_rows(0, std::min(2 * pairs, value_.rows)), whole);
        const MatrixView<const Bfloat16Pair> paired =
            finite.wild().empty() ? paired_value_.middle_rows(0, pairs) : paired_again(finite.rows());
        multiply_panel<vectors>(value_.cols, unpacked_strips<Bfloat16Pair>(paired.transposed()), weights_,
                                lanes, whole_depth(pairs), DecayAndAdd<float>{output, softmax.decay});
        add_wild_values(
            finite.wild(), visible, zero_hides, value_.cols, output,
            [&](Index key, Index lane) {
                const Bfloat16Pair& weight = weights_[key / 2 * lanes + lane];
                return float(key % 2 == 0 ? weight.first : weight.second);
            },
            [&](Index key, Index i) { return float(value_(key, i)); });
    }

  private:
    MatrixView<const Bfloat16Pair> paired_again(const MatrixView<const Bfloat16>& values) const {
        return pair_keys(values, spacing_,
                         workspace<Bfloat16Pair, Workspace::values>().require(Tile::keys / 2 * spacing_));
    }

    Index pairs_of_key_ = 0, spacing_ = 0;
    Bfloat16Pair* query_ = nullptr;                              // a tile behind the other, (D/2, lanes) each
    Bfloat16Pair *weights_ = nullptr, *value_memory_ = nullptr;  // (keys/2, lanes), (keys/2, Dv)
    // Of the tile of keys that is at work: (N, D/2), (N, Dv), (N/2, Dv).
    MatrixView<const Bfloat16Pair> key_, paired_value_;
    MatrixView<const Bfloat16> value_;
};

}  // namespace ring_attention::inline RING_ATTENTION_ABI::detail
RING_ATTENTION_PRECISE_END
