#pragma once

#include <ring_attention/kernels/product.hpp>
#include <ring_attention/layers/layer.hpp>

namespace ring_attention::inline RING_ATTENTION_ABI {

/// Logits by the embedding's own table, y = x table^T (Press, Wolf 2017, 1608.05859; Inan et al. 2017,
/// 1611.01462): [tokens, Width] => [tokens, Vocabulary]. It has no parameters: the table [Vocabulary, Width]
/// is the embedding's, which lists it, and comes with each call; its gradient has the sum of what both add.
/// The embedding's scale is not the head's.
template <class T, Index Vocabulary, Index Width, Storage weights = Storage::computing>
struct TiedHead {
    using Scalar = T;
    using Table = Matrix<detail::StoredAs<T, weights>>;
    static constexpr Index in_width = Width, out_width = Vocabulary;

    static void visit(auto&&, auto&...) {}

    struct Cache {
        Matrix<T> input;  // [tokens, Width]
    };

    Matrix<T> forward(Matrix<T> x, const Table& table, Cache* cache) const {
        Matrix<T> y(x.rows(), Vocabulary);
        detail::parallel_multiply<T>(detail::view(std::as_const(x)), detail::view(table).transposed(),
                                     detail::view(y));
        if (cache) cache->input = std::move(x);
        return y;
    }

    /// gradients: of the table, gradients_of_the_embedding.part([](auto& e) -> auto& { return e.table; }).
    Matrix<T> backward(const Matrix<T>& d_y, const Table& table, const Cache& cache,
                       const SeatGradients<Table>& gradients) const {
        if constexpr (detail::has_gradient<weights>())
            gradients.for_each([&](Table& gradient, IndexRange rows) {
                detail::parallel_multiply<T>(
                    detail::view(d_y).middle_rows(rows.first, rows.count).transposed(),
                    detail::view(cache.input).middle_rows(rows.first, rows.count), detail::view(gradient),
                    detail::Into::add);
            });
        Matrix<T> d_x(d_y.rows(), Width);
        detail::parallel_multiply<T>(detail::view(d_y), detail::view(table), detail::view(d_x));
        return d_x;
    }
};

}  // namespace ring_attention::inline RING_ATTENTION_ABI
