#pragma once

#include <ring_attention/layers/layer.hpp>
#include <ring_attention/layers/table.hpp>

namespace ring_attention::inline RING_ATTENTION_ABI {

/// Adds to each token the row of a table [MaxPositions, Width] that belongs to its position in its document
/// (Gehring et al. 2017, 1705.03122): [tokens, Width] => [tokens, Width]. A model with this layer refuses
/// longer documents (InputBounds).
template <class T, Index MaxPositions, Index Width>
struct LearnedPositions {
    using Scalar = T;
    static constexpr Index in_width = Width, out_width = Width, max_positions = MaxPositions;
    static constexpr bool streams = true;

    Matrix<T> table = Matrix<T>::Zero(MaxPositions, Width);

    static void visit(auto&& f, auto&... self) { f("table", self.table...); }

    struct Cache {};

    Matrix<T> forward(Matrix<T> x, Cache*, const auto& pass) const {
        for_each_token(pass, [&](Index row, Index, Index position) {
            x.row(row) += table.row(position - pass.document_start(position));
        });
        return x;
    }

    Matrix<T> backward(Matrix<T> d, const Cache&, const SeatGradients<LearnedPositions>& gradients,
                       const auto& pass) const {
        List<Index> positions(static_cast<std::size_t>(d.rows()));
        for_each_token(pass, [&](Index row, Index, Index position) {
            positions[std::size_t(row)] = position - pass.document_start(position);
        });
        gradients.for_each([&](LearnedPositions& gradient, IndexRange rows) {
            detail::add_rows_to_table(d, rows, T(1), gradient.table,
                                      [&](Index row) { return positions[std::size_t(row)]; });
        });
        return d;
    }

    /// As those of Embedding.
    void initialise(const CounterRandom& random, std::uint64_t stream) {
        detail::initialise_table<T>(table, 0.5, random, stream);
    }
};

}  // namespace ring_attention::inline RING_ATTENTION_ABI
