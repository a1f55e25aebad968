#pragma once

#include <string>

#include <ring_attention/attention/options.hpp>
#include <ring_attention/core/tensor.hpp>
#include <ring_attention/layers/embedding.hpp>
#include <ring_attention/models/pooling.hpp>

namespace ring_attention::inline RING_ATTENTION_ABI {

/// A body that starts from vectors: any SequenceLayer.
template <class B>
concept VectorBody = SequenceLayer<B>;

/// A body that starts from tokens, below `vocabulary`.
template <class B>
concept TokenBody = FromTokens<B>;

namespace detail {

/// What goes in at the door of a body: [batch, seq_len, in_width], or tokens [batch, seq_len].
template <class Body>
struct InputOf {
    using type = Tensor<typename Body::Scalar, 3>;
    static constexpr Index width = Body::in_width;
};
template <TokenBody Body>
struct InputOf<Body> {
    using type = Tensor<Token, 2>;
    static constexpr Index width = 1;
};

template <TokenBody Body>
void require_in_vocabulary(const auto& tokens) {
    for (Index i = 0; i < tokens.size(); ++i)
        if (const Token token = tokens.data()[i]; token < 0 || token >= Body::vocabulary)
            throw Error("token " + std::to_string(token) + ", expected 0 to " +
                        std::to_string(Body::vocabulary - 1));
}

/// Between the tensors of a model and the rows, one a token of this rank, that its body sees.
template <class Body, Output output>
struct Doors {
    using Scalar = typename Body::Scalar;
    using InputTensor = typename InputOf<Body>::type;
    using OutputTensor = Tensor<Scalar, output == Output::all ? 3 : 2>;
    static constexpr Index in_width = InputOf<Body>::width, out_width = Body::out_width;

    /// Throws ShapeError where the input is of no use whatever the ring, Error where a token is not in the
    /// vocabulary.
    static void require_input(const InputTensor& x) {
        require_countable("x", x.dimensions());
        if constexpr (!TokenBody<Body>)
            if (x.dimension(2) != in_width)
                throw ShapeError("x has shape " + shape_text(x.dimensions()) +
                                 ", expected [batch, seq_len, " + std::to_string(in_width) + "]");
        if (x.dimension(0) < 1)
            throw ShapeError("x has shape " + shape_text(x.dimensions()) +
                             ", expected a batch of at least 1");
        if constexpr (TokenBody<Body>) require_in_vocabulary<Body>(x);
    }

    static auto enter(const InputTensor& x, const Share& share) {
        return enter_seats(x.data(), x.dimension(0), in_width, share);
    }

    static OutputTensor leave(const Matrix<Scalar>& rows, const Pass& pass) {
        const Share& share = pass.share;
        OutputTensor y(output_shape(pass.batch, share));
        if constexpr (output == Output::all) {
            leave_seats(rows, pass.batch, share, y.data());
            return y;
        }
        MapOf<typename Matrix<Scalar>::PlainObject> pooled(y.data(), pass.batch, out_width);
        // The layers may have given the rows of the last token alone.
        const bool all = rows.rows() == pass.batch * share.num_tokens();
        if constexpr (output == Output::mean_pool)
            pooled = pool_mean(rows, pass.batch, out_width, share, *pass.sequences, pass.ring);
        else if (!pass.sequences->lengths.empty())
            pooled = pool_last(last_true_rows(rows, pass.batch, share, *pass.sequences), pass.batch,
                               out_width, pass.ring);
        else
            pooled = pool_last(all ? pass.last_rows(rows) : rows, pass.batch, out_width, pass.ring);
        return y;
    }

    /// Throws ShapeError where d_output is not of the output's shape.
    static void require_d_output(const OutputTensor& d_output, Index batch, const Share& share) {
        require_shape("d_output", d_output.dimensions(), output_shape(batch, share));
    }

    static Matrix<Scalar> leave_backward(const OutputTensor& d_output, const Share& share,
                                         const Sequences& sequences) {
        const Index batch = d_output.dimension(0);
        if constexpr (output == Output::all)
            return enter_seats(d_output.data(), batch, out_width, share);
        else
            return pool_backward<Scalar>(
                output, MapOf<const typename Matrix<Scalar>::PlainObject>(d_output.data(), batch, out_width),
                share, sequences);
    }

    static InputTensor enter_backward(const Matrix<Scalar>& d, Index batch, const Share& share) {
        InputTensor d_input(batch, share.num_tokens(), in_width);
        leave_seats(d, batch, share, d_input.data());
        return d_input;
    }

  private:
    static auto output_shape(Index batch, const Share& share) {
        if constexpr (output == Output::all)
            return tensor_shape(batch, share.num_tokens(), out_width);
        else
            return tensor_shape(batch, out_width);
    }
};

}  // namespace detail

}  // namespace ring_attention::inline RING_ATTENTION_ABI
