#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <limits>
#include <numbers>
#include <type_traits>

#include <ring_attention/attention/mask.hpp>
#include <ring_attention/kernels/blocked_product.hpp>
#include <ring_attention/kernels/matrix_view.hpp>

// What attention forward and backward have in common: a tile of queries, one a lane, and a tile of keys.

namespace ring_attention::inline RING_ATTENTION_ABI::detail {

template <Real T>
struct AttentionTile {
    /// Queries of a tile.
    static constexpr int lanes = ProductTile<T>::cols;
    /// Keys of a tile: whole strips of the micro-kernel.
    static constexpr Index keys = ProductTile<T>::rows * (112 / ProductTile<T>::rows);
};

/// The keys of a tile that the queries of a tile see. Each sees a prefix; a later query sees no less.
template <Real T>
struct VisibleKeys {
    static constexpr int lanes = AttentionTile<T>::lanes;

    Index any;                                            // keys [0, any) are seen by some query
    Index all;                                            // keys [0, all) are seen by every query
    alignas(64) std::array<T, std::size_t(lanes)> count;  // seen by each; filled where all < any

    /// Keys [first_key, first_key + num_keys) of those at `keys`.
    VisibleKeys(const Mask& mask, const TokenPositions& queries, const TokenPositions& keys, Index first_key,
                Index num_keys) {
        const auto seen = [&](Index query) {
            return std::clamp<Index>(mask.visible(queries.position(query), keys) - first_key, 0, num_keys);
        };
        any = seen(queries.count - 1);
        all = seen(0);
        if (all == any) return;
        for (Index i = 0; i < lanes; ++i) count[std::size_t(i)] = T(i < queries.count ? seen(i) : any);
    }

    /// Where the first strip of the micro-kernel begins that some query does not see in whole.
    Index first_masked() const { return all / ProductTile<T>::rows * ProductTile<T>::rows; }

    /// Where the last strip ends of which some query sees something.
    Index end_of_strips() const { return ceil_div(any, ProductTile<T>::rows) * ProductTile<T>::rows; }

    /// How many of the tile's keys forward computes scores of: whole strips, as long as it takes away from
    /// them what is too much.
    Index scores_of(Index num_keys) const { return all < any ? std::min(num_keys, end_of_strips()) : any; }
};

// The logarithm of a sum of exponentials is as large as the largest score, and its rounding is an error of
// all weights exp(score - log_sum_exp) alike: from scores of 1e4 in float they no longer add up to 1. The
// largest score and the sum apart lose nothing. So where log_sum_exp is large, backward takes the scores to
// base 2, as forward does and with the same rounding, and
//   P = 2^(score scale2 - base2_log_sum_exp - log_sum_exp_rest),
// where the two add up to maximum + log2(sum) of forward. Small ones stay as they are: there the rounding is
// no more than that of exp itself.

/// The scale of the scores in base 2.
template <Real T>
T base2_scale(T scale) {
    return T(double(scale) * std::numbers::log2e);
}

/// Whether a log_sum_exp has a rest; one that is not finite has none.
template <Real T>
bool has_rest(T log_sum_exp) {
    return std::abs(log_sum_exp) >= T(64) && std::abs(log_sum_exp) <= std::numeric_limits<T>::max();
}

/// A quotient, for a product might be contracted with what is subtracted from it, in one of two places.
template <Real T>
T base2_log_sum_exp(T log_sum_exp) {
    return T(double(log_sum_exp) / std::numbers::ln2);
}

/// maximum: of the scores in base 2. sum: of 2^(score - maximum).
template <Real T>
T log_sum_exp_rest(T log_sum_exp, T maximum, T sum) {
    if (!has_rest(log_sum_exp)) return T(0);
    return T(double(maximum) - double(base2_log_sum_exp(log_sum_exp)) + std::log2(double(sum)));
}

/// Calls f(vectors, first, count) for the tiles of so many queries: `vectors`, a constant, is how many
/// vectors the queries [first, first + count) fill.
template <Real T>
void for_each_tile(Index queries, auto&& f) {
    constexpr Index lanes = AttentionTile<T>::lanes;
    for (Index first = 0; first < queries; first += lanes) {
        const Index count = std::min(lanes, queries - first);
        if (count > Simd<T>::width)
            f(std::integral_constant<int, 2>{}, first, count);
        else
            f(std::integral_constant<int, 1>{}, first, count);
    }
}

/// rows (M, D), M <= lanes, to (D, lanes): a row becomes a lane; those that are lacking hold 0.
template <Real T>
void pack_lanes(MatrixView<const T> rows, T* to) {
    constexpr Index lanes = AttentionTile<T>::lanes;
    if (rows.rows < lanes) std::fill_n(to, rows.cols * lanes, T(0));
    pack_panel<T>(rows.transposed(), to, lanes);
}

/// The inverse of pack_lanes.
template <Real T>
void unpack_lanes(const T* from, MatrixView<T> rows) {
    constexpr Index lanes = AttentionTile<T>::lanes, width = Simd<T>::width;
    for (Index i = 0; i < rows.rows; i += width)
        for (Index j = 0; j < rows.cols; j += width)
            pack_transposed(from + j * lanes + i, lanes, std::min(width, rows.cols - j),
                            std::min(width, rows.rows - i), &rows(i, j), rows.row_stride);
}

}  // namespace ring_attention::inline RING_ATTENTION_ABI::detail
