#pragma once

#include <algorithm>
#include <cstddef>
#include <type_traits>
#include <utility>

#include <ring_attention/kernels/bfloat16.hpp>
#include <ring_attention/kernels/matrix_view.hpp>
#include <ring_attention/kernels/simd.hpp>

// Products of a few rows with many, which are read from memory once and as they lie. Who waits for memory has
// time to compute: so nothing is packed, and rows kept as bfloat16 are widened in the registers.
//   scores = rows others^T       (M,D) x (N,D) => (M,N)
//   sums += weights others       (M,N) x (N,D) => (M,D)
// Each number is summed in an order that depends neither on the other rows nor on where the sum begins or
// is interrupted.

RING_ATTENTION_PRECISE_BEGIN
namespace ring_attention::inline RING_ATTENTION_ABI::detail {

/// Who reads a row asks for the one so many further on, which memory needs so long to bring.
inline constexpr Index rows_ahead = 32;

/// Lanes with bit `distance` set: the sum of two lanes of b, that far apart; the others: of a.
template <int distance, Real T>
[[gnu::always_inline]] inline Simd<T> pairwise_sum(Simd<T> a, Simd<T> b) {
    return [&]<int... l>(std::integer_sequence<int, l...>) __attribute__((always_inline)) {
        constexpr int width = Simd<T>::width;
        return Simd<T>(__builtin_shufflevector(a.lanes, b.lanes, (l & distance ? width + l : l)...)) +
               Simd<T>(__builtin_shufflevector(a.lanes, b.lanes,
                                               (l & distance ? width + (l ^ distance) : l ^ distance)...));
    }
    (std::make_integer_sequence<int, Simd<T>::width>{});
}

/// Lane l of the result is the sum of the lanes of x[l], in the same order for all l.
template <int count, Real T>
[[gnu::always_inline]] inline Simd<T> horizontal_sums(Simd<T>* x) {
    if constexpr (count > 1) {
        constexpr int half = count / 2;
        unrolled<half>([&](auto i) { x[i] = pairwise_sum<half>(x[i], x[i + half]); });
        return horizontal_sums<half>(x);
    } else {
        return x[0];
    }
}

/// The products of `row` with as many of the others as a vector has lanes. row: padded with zeros to whole
/// vectors. fetches: asks for the numbers so many further on meanwhile.
template <bool fetches, Real T, class Number>
[[gnu::always_inline]] inline Simd<T> products_with(const T* row, const Number* others, Index stride,
                                                    Index width_of_rows, Index ahead) {
    constexpr int width = Simd<T>::width, run = std::min(4, width);
    const Number* first_of_run[std::size_t(width / run)];
    unrolled<width / run>([&](auto r) { first_of_run[r] = others + r * run * stride; });
    Simd<T> sums[std::size_t(width)];
    unrolled<width>([&](auto i) { sums[i] = Simd<T>(T(0)); });
    Index j = 0;
    for (; j + width <= width_of_rows; j += width) {
        const Simd<T> part = Simd<T>::load(row + j);
        unrolled<width>([&](auto i) {
            const Number* const other = first_of_run[i / run] + i % run * stride + j;
            if constexpr (fetches) __builtin_prefetch(other + ahead);
            sums[i] = fma(load_as<T>(other), part, sums[i]);
        });
    }
    if (j < width_of_rows) {
        const Simd<T> part = Simd<T>::load(row + j);
        unrolled<width>([&](auto i) {
            const Number* const other = first_of_run[i / run] + i % run * stride + j;
            sums[i] = fma(load_partial_as<T>(other, width_of_rows - j), part, sums[i]);
        });
    }
    return horizontal_sums<width>(sums);
}

/// With one of the others, and the same bits.
template <Real T, class Number>
T product_with(const T* row, const Number* other, Index width_of_rows) {
    constexpr Index width = Simd<T>::width;
    Simd<T> sum(T(0));
    Index j = 0;
    for (; j + width <= width_of_rows; j += width)
        sum = fma(load_as<T>(other + j), Simd<T>::load(row + j), sum);
    if (j < width_of_rows)
        sum = fma(load_partial_as<T>(other + j, width_of_rows - j), Simd<T>::load(row + j), sum);
    return horizontal_sum(sum);
}

/// scores (M, N), `stride` apart. rows (M, D): each padded with zeros to whole vectors.
template <Real T, class Number>
void multiply_few_rows(MatrixView<const T> rows, MatrixView<const Number> others, T* scores, Index stride) {
    constexpr Index width = Simd<T>::width;
    Index i = 0;
    const Index ahead = rows_ahead * others.row_stride;
    for (; i + width <= others.rows; i += width) {
        const auto products = [&](auto fetches, Index row) __attribute__((always_inline)) {
            products_with<fetches>(&rows(row, 0), &others(i, 0), others.row_stride, others.cols, ahead)
                .store(scores + row * stride + i);
        };
        products(std::true_type(), 0);
        for (Index row = 1; row < rows.rows; ++row) products(std::false_type(), row);
    }
    for (; i < others.rows; ++i)
        for (Index row = 0; row < rows.rows; ++row)
            scores[row * stride + i] = product_with(&rows(row, 0), &others(i, 0), others.cols);
}

/// A block of columns of the sums, in registers: `vectors` of them, or the first `part` lanes of one.
/// fetches: asks for rows further on meanwhile.
template <int rows, int vectors, bool is_part, bool fetches, Real T, class Number>
[[gnu::always_inline]] inline void add_weighted_block(const T* weights, Index weight_stride,
                                                      MatrixView<const Number> others, T* sums,
                                                      Index sum_stride, Index part) {
    constexpr int width = Simd<T>::width;
    const auto load = [&](const auto* from) __attribute__((always_inline)) {
        if constexpr (is_part)
            return load_partial_as<T>(from, part);
        else
            return load_as<T>(from);
    };
    const Index ahead = rows_ahead * others.row_stride;
    Simd<T> total[std::size_t(rows)][std::size_t(vectors)];
    unrolled<rows>([&](auto r) {
        unrolled<vectors>([&](auto v) { total[r][v] = load(sums + r * sum_stride + v * width); });
    });
    for (Index i = 0; i < others.rows; ++i) {
        Simd<T> other[std::size_t(vectors)];
        unrolled<vectors>([&](auto v) {
            const Number* const from = &others(i, 0) + v * width;
            if constexpr (fetches) __builtin_prefetch(from + ahead);
            other[v] = load(from);
        });
        unrolled<rows>([&](auto r) {
            const Simd<T> weight(weights[r * weight_stride + i]);
            unrolled<vectors>([&](auto v) { total[r][v] = fma(weight, other[v], total[r][v]); });
        });
    }
    unrolled<rows>([&](auto r) {
        unrolled<vectors>([&](auto v) {
            T* const to = sums + r * sum_stride + v * width;
            if constexpr (is_part)
                store_partial(total[r][v], to, part);
            else
                total[r][v].store(to);
        });
    });
}

/// `rows` rows of the sums.
template <int rows, bool fetches, Real T, class Number>
void add_weighted_columns(const T* weights, Index weight_stride, MatrixView<const Number> others, T* sums,
                          Index sum_stride) {
    constexpr int vectors = simd_registers == 32 ? 4 : 2;
    constexpr Index width = Simd<T>::width, block = vectors * width;
    Index j = 0;
    const auto columns = [&] { return others.middle_cols(j, others.cols - j); };
    for (; j + block <= others.cols; j += block)
        add_weighted_block<rows, vectors, false, fetches>(weights, weight_stride, columns(), sums + j,
                                                          sum_stride, 0);
    for (; j + width <= others.cols; j += width)
        add_weighted_block<rows, 1, false, fetches>(weights, weight_stride, columns(), sums + j, sum_stride,
                                                    0);
    if (j < others.cols)
        add_weighted_block<rows, 1, true, fetches>(weights, weight_stride, columns(), sums + j, sum_stride,
                                                   others.cols - j);
}

/// sums (M, D) += weights (M, N) others. A few of the others at a time, so that they stay in the nearest
/// cache for all rows.
template <Real T, class Number>
void add_weighted_to_few_rows(MatrixView<const T> weights, MatrixView<const Number> others,
                              MatrixView<T> sums) {
    constexpr Index at_once = rows_ahead;
    for (Index i = 0; i < others.rows; i += at_once) {
        const auto some = others.middle_rows(i, std::min(at_once, others.rows - i));
        Index row = 0;
        const auto add = [&](auto rows) {
            constexpr auto first = add_weighted_columns<rows, true, T, Number>,
                           further = add_weighted_columns<rows, false, T, Number>;
            (row == 0 ? first : further)(&weights(row, i), weights.row_stride, some, &sums(row, 0),
                                         sums.row_stride);
            row += rows;
        };
        while (row + 4 <= sums.rows) add(std::integral_constant<int, 4>{});
        if (row + 2 <= sums.rows) add(std::integral_constant<int, 2>{});
        if (row < sums.rows) add(std::integral_constant<int, 1>{});
    }
}

}  // namespace ring_attention::inline RING_ATTENTION_ABI::detail
RING_ATTENTION_PRECISE_END
