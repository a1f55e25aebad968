#pragma once

#include <cstdint>

#include <ring_attention/layers/layer.hpp>
#include <ring_attention/layers/table.hpp>

namespace ring_attention::inline RING_ATTENTION_ABI {

/// Adds to each token the row of a table [Types, Width] that belongs to its type, as BERT tells the first of
/// two sentences from the second (Devlin et al. 2018, 1810.04805): [tokens, Width] => [tokens, Width]. The
/// types come with the pass (Sequences::token_types); those of a stream are all 0.
template <class T, Index Types, Index Width>
struct TokenTypes {
    using Scalar = T;
    static constexpr Index in_width = Width, out_width = Width, token_types = Types;
    static constexpr bool streams = true;

    Matrix<T> table = Matrix<T>::Zero(Types, Width);

    static void visit(auto&& f, auto&... self) { f("table", self.table...); }

    struct Cache {};

    Matrix<T> forward(Matrix<T> x, Cache*, const auto& pass) const {
        const Matrix<std::int32_t> types = pass.token_types();
        detail::parallel_rows(x.rows(), [&](Index row) { x.row(row) += table.row(types(row, 0)); });
        return x;
    }

    Matrix<T> backward(Matrix<T> d, const Cache&, const SeatGradients<TokenTypes>& gradients,
                       const auto& pass) const {
        const Matrix<std::int32_t> types = pass.token_types();
        gradients.for_each([&](TokenTypes& gradient, IndexRange rows) {
            detail::add_rows_to_table(d, rows, T(1), gradient.table,
                                      [&](Index row) { return Index(types(row, 0)); });
        });
        return d;
    }

    /// As those of Embedding.
    void initialise(const CounterRandom& random, std::uint64_t stream) {
        detail::initialise_table<T>(table, 0.5, random, stream);
    }
};

}  // namespace ring_attention::inline RING_ATTENTION_ABI
