#pragma once

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <vector>

#include <ring_attention/core/random.hpp>
#include <ring_attention/layers/layer.hpp>

namespace ring_attention::inline RING_ATTENTION_ABI {

/// A token: a byte, or an index into a vocabulary.
using Token = std::int32_t;

/// Tokens to vectors: a row of a table [Vocabulary, Width] for each. Its input has no gradient, so backward
/// returns nothing.
template <class T, Index Vocabulary, Index Width>
struct Embedding {
    using Scalar = T;
    static constexpr Index vocabulary = Vocabulary, out_width = Width;

    Matrix<T> table = Matrix<T>::Zero(Vocabulary, Width);

    static void visit(auto&& f, auto&... self) { f("table", self.table...); }

    struct Cache {
        Matrix<Token> tokens;  // [tokens, 1]
    };

    /// tokens: [tokens, 1], each in 0 ... Vocabulary - 1 (the model checks that).
    Matrix<T> forward(Matrix<Token> tokens, Cache* cache) const {
        Matrix<T> rows(tokens.rows(), Width);
        for (Index i = 0; i < tokens.rows(); ++i) rows.row(i) = table.row(tokens(i, 0));
        if (cache) cache->tokens = std::move(tokens);
        return rows;
    }

    /// Adds to each row of the table the sum over its occurrences, from the first to the last.
    void backward(const Matrix<T>& d_rows, const Cache& cache,
                  const SeatGradients<Embedding>& gradients) const {
        gradients.for_each(
            [&](Embedding& gradient, IndexRange rows) { add_rows(d_rows, cache, rows, gradient); });
    }

    /// Normal with deviation 1/2: of the size of the positional encoding that is added to it.
    void initialise(const CounterRandom& random, std::uint64_t stream) {
        for (Index i = 0; i < table.size(); ++i)
            table.data()[i] = T(0.5 * random.normal(stream, std::uint64_t(i)));
    }

  private:
    static void add_rows(const Matrix<T>& d_rows, const Cache& cache, IndexRange rows, Embedding& gradient) {
        std::vector<Index> order(static_cast<std::size_t>(rows.count));
        std::iota(order.begin(), order.end(), rows.first);
        const auto token_at = [&](Index i) { return cache.tokens(i, 0); };
        std::stable_sort(order.begin(), order.end(),
                         [&](Index a, Index b) { return token_at(a) < token_at(b); });
        for (auto next = order.begin(); next != order.end();) {
            const Token token = token_at(*next);
            RowVector<T> sum = RowVector<T>::Zero(Width);
            for (; next != order.end() && token_at(*next) == token; ++next) sum += d_rows.row(*next);
            gradient.table.row(token) += sum;
        }
    }
};

}  // namespace ring_attention::inline RING_ATTENTION_ABI
