#pragma once

#include <cstdint>

#include <ring_attention/kernels/bfloat16.hpp>
#include <ring_attention/layers/layer.hpp>
#include <ring_attention/layers/table.hpp>

namespace ring_attention::inline RING_ATTENTION_ABI {

/// A token: a byte, or an index into a vocabulary.
using Token = std::int32_t;

struct EmbeddingOptions {
    float scale = 0;         ///< which each row is multiplied with; 0: none
    float deviation = 0.5f;  ///< of initial values: of the size of the positional encoding that is added
    int padding_token = -1;  ///< whose row has no gradient; -1: none
    Storage weights = Storage::computing;  ///< of the table; bfloat16: for inference
};

/// Tokens to vectors: a row of a table [Vocabulary, Width] for each, scaled where the options say so. Its
/// input has no gradient, so backward returns nothing.
template <class T, Index Vocabulary, Index Width, EmbeddingOptions options = EmbeddingOptions{}>
struct Embedding {
    using Scalar = T;
    static constexpr Index vocabulary = Vocabulary, out_width = Width;
    static constexpr T scale = options.scale == 0 ? T(1) : T(options.scale);
    static constexpr Index padding_token = options.padding_token;
    static constexpr Storage weights = options.weights;
    using Weight = detail::StoredAs<T, weights>;

    Matrix<Weight> table = Matrix<Weight>::Zero(Vocabulary, Width);

    static void visit(auto&& f, auto&... self) { f("table", self.table...); }

    struct Cache {
        Matrix<Token> tokens;  // [tokens, 1]
    };

    /// tokens: [tokens, 1], each in 0 ... Vocabulary - 1 (the model checks that).
    Matrix<T> forward(Matrix<Token> tokens, Cache* cache) const {
        Matrix<T> rows(tokens.rows(), Width);
        for (Index i = 0; i < tokens.rows(); ++i)
            for (Index j = 0; j < Width; ++j) rows(i, j) = scale * T(table(tokens(i, 0), j));
        if (cache) cache->tokens = std::move(tokens);
        return rows;
    }

    /// Adds to each row of the table, but for the padding token's, the sum over its occurrences, from the
    /// first to the last.
    void backward(const Matrix<T>& d_rows, const Cache& cache,
                  const SeatGradients<Embedding>& gradients) const {
        if constexpr (detail::has_gradient<weights>())
            gradients.for_each([&](Embedding& gradient, IndexRange rows) {
                detail::add_rows_to_table(d_rows, rows, scale, gradient.table, [&](Index i) {
                    const Index token = cache.tokens(i, 0);
                    return token == padding_token ? detail::no_row : token;
                });
            });
    }

    void initialise(const CounterRandom& random, std::uint64_t stream) {
        detail::initialise_table<T>(table, double(options.deviation), random, stream);
    }
};

}  // namespace ring_attention::inline RING_ATTENTION_ABI
