#pragma once

#include <concepts>
#include <cstdint>
#include <type_traits>
#include <utility>

#include <ring_attention/core/parameters.hpp>
#include <ring_attention/kernels/rows.hpp>
#include <ring_attention/layers/keep_patterns.hpp>
#include <ring_attention/layers/seat_gradients.hpp>
#include <ring_attention/layers/stream_memory_reference.hpp>
#include <ring_attention/ring/local_ring.hpp>
#include <ring_attention/ring/ring_reference.hpp>
#include <ring_attention/sequence/activations.hpp>
#include <ring_attention/sequence/sequences.hpp>

namespace ring_attention::inline RING_ATTENTION_ABI {

// A layer is a plain struct of parameters that lists its parts (core/parameters.hpp), with forward, backward
// and a Cache for what backward has to remember. It maps a matrix with a row a token, those of all seats of
// the rank, to another. Backward returns the gradient of dot(d_output, output) with respect to the input and
// adds those of the parameters to gradients (SeatGradients). There are two kinds:
//
// - a TokenLayer treats every token (a row) alone and knows of no sequence: Dense, LayerNorm, Gelu,
//   FeedForward;
// - a SequenceLayer is given the Pass, which knows the seats and the ring: RingAttention, Block, Stack,
//   Sequential.

namespace detail {

/// The rows of the last token of the sequence, one a batch entry; none on a rank that does not hold it.
template <class T>
Matrix<T> last_token_rows(const Matrix<T>& rows, const auto& share, Index batch) {
    for (Index seat = 0; seat < share.num_seats(); ++seat)
        if (share.has_last_token(seat)) {
            const IndexRange run = rows_of_seat(share, batch, seat);
            Matrix<T> last(batch, rows.cols());
            for (Index b = 0; b < batch; ++b)
                last.row(b) = rows.row(run.first + (b + 1) * (run.count / batch) - 1);
            return last;
        }
    return Matrix<T>(0, rows.cols());
}

}  // namespace detail

/// What all layers of one pass through a model share.
struct Pass {
    RingReference ring;
    const Share& share;
    Index batch;
    KeepPatternReference keep_patterns;  ///< of dropout in training, or none
    std::uint64_t layer = 0;             ///< where in the model: keys random numbers
    /// Nobody looks at the output but at the last token of the sequence, nor will there be a backward pass. A
    /// layer may then give last_rows() of its output in place of it.
    bool last_token_only = false;
    const Sequences* sequences = nullptr;  ///< none: whole sequences of one document
    /// Of a stream that is to go on behind the sequence: layers that see other tokens leave there what tokens
    /// to come need of these.
    StreamMemoryReference stream_memory{};

    /// The pass for part number i (from 0) of the layer.
    Pass at_part(Index i, bool is_last = true) const {
        Pass part = *this;
        part.layer = layer * 1024 + std::uint64_t(i) + 1;
        part.last_token_only = last_token_only && is_last;
        return part;
    }

    /// Where the document of the token at this position begins.
    Index document_start(Index position) const { return sequences ? sequences->document_start(position) : 0; }

    /// The type of the token of each row: [tokens, 1].
    Matrix<std::int32_t> token_types() const {
        if (!sequences || sequences->token_types.size() == 0)
            return Matrix<std::int32_t>::Zero(batch * share.num_tokens(), 1);
        return enter_seats(sequences->token_types.data(), batch, 1, share);
    }

    /// The rows of the last token of the sequence, one a batch entry; none on a rank that does not hold it.
    template <class T>
    Matrix<T> last_rows(const Matrix<T>& rows) const {
        return detail::last_token_rows(rows, share, batch);
    }
};

/// Calls f(row, batch entry, position in the sequence) for all rows of a rank, on all threads.
void for_each_token(const auto& pass, auto&& f) {
    for (Index seat = 0; seat < pass.share.num_seats(); ++seat) {
        const TokenPositions tokens = pass.share.tokens(seat);
        const IndexRange rows = rows_of_seat(pass.share, pass.batch, seat);
        detail::parallel_rows(rows.count, [&](Index i) {
            f(rows.first + i, i / tokens.count, tokens.position(i % tokens.count));
        });
    }
}

/// forward(x, cache): x is [tokens, in_width], the result [tokens, out_width]; cache is null where no
/// backward will follow.
template <class L>
concept TokenLayer = Visitable<L> && std::copyable<L> && std::default_initializable<typename L::Cache> &&
    requires(const L& layer, Matrix<typename L::Scalar> x, typename L::Cache* cache,
             const typename L::Cache& filled, const SeatGradients<L>& gradients) {
    { L::in_width } -> std::convertible_to<Index>;
    { L::out_width } -> std::convertible_to<Index>;
    { layer.forward(x, cache) } -> std::same_as<Matrix<typename L::Scalar>>;
    { layer.backward(x, filled, gradients) } -> std::same_as<Matrix<typename L::Scalar>>;
};

/// The same with the pass as the last argument of both.
template <class L>
concept SequenceLayer = Visitable<L> && std::copyable<L> && std::default_initializable<typename L::Cache> &&
    requires(const L& layer, Matrix<typename L::Scalar> x, typename L::Cache* cache,
             const typename L::Cache& filled, const SeatGradients<L>& gradients, const Pass& pass) {
    { L::in_width } -> std::convertible_to<Index>;
    { L::out_width } -> std::convertible_to<Index>;
    { layer.forward(x, cache, pass) } -> std::same_as<Matrix<typename L::Scalar>>;
    { layer.backward(x, filled, gradients, pass) } -> std::same_as<Matrix<typename L::Scalar>>;
};

template <class L>
concept Layer = TokenLayer<L> || SequenceLayer<L>;

/// A layer that starts from tokens, below `vocabulary`, [tokens, 1]: Embedding, or a Sequential that begins
/// with one. Its backward returns nothing.
template <class L>
concept FromTokens = Visitable<L> && requires {
    L::vocabulary;
};

/// Neighbouring layers fit: in the compiler's message one reads the two widths, "288 == 256".
template <Index Given, Index Expected>
concept SameWidth = Given == Expected;

/// Evaluates a layer of either kind.
template <Layer L>
Matrix<typename L::Scalar> forward_layer(const L& layer, Matrix<typename L::Scalar> x,
                                         typename L::Cache* cache, const auto& pass) {
    if constexpr (TokenLayer<L>)
        return layer.forward(std::move(x), cache);
    else
        return layer.forward(std::move(x), cache, pass);
}

template <Layer L>
Matrix<typename L::Scalar> backward_layer(const L& layer, Matrix<typename L::Scalar> d_output,
                                          const typename L::Cache& cache, const SeatGradients<L>& gradients,
                                          const auto& pass) {
    if constexpr (TokenLayer<L>)
        return layer.backward(std::move(d_output), cache, gradients);
    else
        return layer.backward(std::move(d_output), cache, gradients, pass);
}

}  // namespace ring_attention::inline RING_ATTENTION_ABI
