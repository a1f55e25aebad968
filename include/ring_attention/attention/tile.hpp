#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <span>
#include <type_traits>

#include <ring_attention/attention/heads.hpp>
#include <ring_attention/attention/mask.hpp>
#include <ring_attention/kernels/blocked_product.hpp>
#include <ring_attention/kernels/matrix_view.hpp>
#include <ring_attention/sequence/token_positions.hpp>

// What attention forward and backward have in common: a tile of queries, one a lane, and a tile of keys.

namespace ring_attention::inline RING_ATTENTION_ABI::detail {

template <Real T>
struct AttentionTile {
    /// Queries of a tile.
    static constexpr int lanes = ProductTile<T>::cols;
    /// Keys of a tile: whole strips of the micro-kernel.
    static constexpr Index keys = ProductTile<T>::rows * (112 / ProductTile<T>::rows);
};

/// Of queries of which the first and the last see these keys, no end falling from one to the next: what holds
/// all that some of them see, and what all see.
inline IndexRange seen_by_some(const IndexRange& first, const IndexRange& last) {
    return {first.first, std::max<Index>(0, last.end() - first.first)};
}
inline IndexRange seen_by_all(const IndexRange& first, const IndexRange& last) {
    return {last.first, std::max<Index>(0, first.end() - last.first)};
}

/// Which keys of a chunk the rows from `first_row` on see, a token's rows (a group of heads) alike. Neither
/// end falls from one row to the next, so where the first and the last see the same, all do.
inline void find_seen(const Mask& mask, Index batch, const TokenPositions& queries, Index group,
                      Index first_row, const TokenPositions& keys, std::span<IndexRange> of_rows) {
    if (of_rows.empty()) return;
    const auto seen = [&](Index token) { return keys.indices(mask.visible(batch, queries.position(token))); };
    const Index end_row = first_row + Index(of_rows.size()), first_token = first_row / group,
                last_token = (end_row - 1) / group;
    const IndexRange first = seen(first_token), last = seen(last_token);
    if (first == last) return std::fill(of_rows.begin(), of_rows.end(), first);
    for (Index row = first_row, token = first_token; token <= last_token; ++token) {
        const IndexRange of_token = token == last_token ? last : seen(token);
        for (const Index end = std::min(end_row, (token + 1) * group); row < end; ++row)
            of_rows[std::size_t(row - first_row)] = of_token;
    }
}

/// The keys of a tile that the queries of a tile see, an interval each, whose ends never fall from one query
/// to the next.
template <Real T>
struct VisibleKeys {
    static constexpr int lanes = AttentionTile<T>::lanes;
    using Lanes = std::array<T, std::size_t(lanes)>;

    IndexRange any;                // holds what some query sees
    IndexRange all;                // what every query sees
    alignas(64) Lanes begin, end;  // what each sees, of all of the chunk; filled where all is not any

    /// queries: which keys of the chunk each sees. The tile is its keys [first_key, first_key + num_keys).
    VisibleKeys(std::span<const IndexRange> queries, Index first_key, Index num_keys) {
        const auto seen = [&](const IndexRange& indices) {
            const Index first = std::clamp<Index>(indices.first - first_key, 0, num_keys);
            return IndexRange{first, std::clamp<Index>(indices.end() - first_key, first, num_keys) - first};
        };
        const IndexRange first = seen(queries.front()), last = seen(queries.back());
        any = seen_by_some(first, last), all = seen_by_all(first, last);
        if (all == any) return;
        begin.fill(T(any.first));
        end.fill(T(any.end()));
        for (std::size_t i = 0; i < queries.size(); ++i)
            begin[i] = T(queries[i].first - first_key), end[i] = T(queries[i].end() - first_key);
    }

    bool sees(Index lane, Index key) const {
        return all == any || (T(key) >= begin[std::size_t(lane)] && T(key) < end[std::size_t(lane)]);
    }

    /// x where lanes [lane, lane + width) see the key, else `otherwise`.
    Simd<T> where_seen(Index lane, Index key, Simd<T> x, Simd<T> otherwise) const {
        const Simd<T> middle(T(T(key) + T(0.5)));
        return select<T>(Simd<T>::load(end.data() + lane) > middle,
                         select<T>(middle > Simd<T>::load(begin.data() + lane), x, otherwise), otherwise);
    }

    /// Of which keys forward computes scores: of whole strips of the micro-kernel, as long as masking takes
    /// away what is too much.
    IndexRange scores_of(Index num_keys) const {
        if (all == any) return any;
        const Index first = any.first / strip * strip;
        return {first, std::min(num_keys, ceil_div(any.end(), strip) * strip) - first};
    }

    /// The keys in strips that some query does not see in whole, in two runs.
    std::array<IndexRange, 2> masked() const {
        if (all == any) return {};
        const Index first = any.first / strip * strip,
                    whole = all.count == 0 ? any.end() : ceil_div(all.first, strip) * strip,
                    from = std::max(whole, all.end() / strip * strip);
        return {IndexRange{first, std::min(whole, any.end()) - first},
                IndexRange{from, std::max<Index>(0, any.end() - from)}};
    }

  private:
    static constexpr Index strip = ProductTile<T>::rows;
};

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

/// The same for the rows of a group of heads; scratch: lanes * D numbers.
template <Real T>
void pack_lanes(const GroupRows<const T>& rows, T* to, T* scratch) {
    if (rows.group == 1) return pack_lanes<T>(rows.matrix(), to);
    for (Index i = 0; i < rows.count; ++i) std::copy_n(rows.row(i), rows.width, scratch + i * rows.width);
    pack_lanes<T>({scratch, rows.count, rows.width, rows.width, 1}, to);
}

/// numbers *= factor; nothing where it is 1.
template <Real T>
void multiply_numbers(T* numbers, Index count, T factor) {
    if (factor == T(1)) return;
    for (Index i = 0; i < count; ++i) numbers[i] *= factor;
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

template <Real T>
void unpack_lanes(const T* from, const GroupRows<T>& rows, T* scratch) {
    if (rows.group == 1) return unpack_lanes<T>(from, rows.matrix());
    unpack_lanes<T>(from, {scratch, rows.count, rows.width, rows.width, 1});
    for (Index i = 0; i < rows.count; ++i) std::copy_n(scratch + i * rows.width, rows.width, rows.row(i));
}

}  // namespace ring_attention::inline RING_ATTENTION_ABI::detail
