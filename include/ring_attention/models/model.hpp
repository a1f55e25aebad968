#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include <ring_attention/attention/options.hpp>
#include <ring_attention/core/fingerprint.hpp>
#include <ring_attention/core/tensor.hpp>
#include <ring_attention/layers/dropout.hpp>
#include <ring_attention/layers/embedding.hpp>
#include <ring_attention/models/gradient_chain.hpp>
#include <ring_attention/models/pooling.hpp>
#include <ring_attention/sequence/agreement.hpp>

namespace ring_attention::inline RING_ATTENTION_ABI {

/// A body that starts from vectors: any SequenceLayer.
template <class B>
concept VectorBody = SequenceLayer<B>;

/// A body that starts from tokens, below `vocabulary`.
template <class B>
concept TokenBody = Visitable<B> && requires {
    B::vocabulary;
};

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

}  // namespace detail

/// A model: a body with doors for tensors, on a ring of num_chunks seats. Call it for inference; forward and
/// backward for learning. Each takes a ring as its last argument (none: all seats in this process); on
/// several ranks, a tensor with a seq_len holds this rank's tokens (see Share), and one without is the same
/// on every rank. What is to be known of the sequences beside their tokens (Sequences: documents, lengths) is
/// the same on every rank, too; with lengths, the last timestep and the mean are those of the true tokens (of
/// none: 0), and what padding gives is nobody's.
///
/// The parameters are walked with for_each_parameter; a gradient is a Model of the same type.
template <class Body, Index num_chunks, Output output, Layout layout = Layout::contiguous>
requires VectorBody<Body> || TokenBody<Body>
struct Model {
    using Scalar = typename Body::Scalar;
    using InputTensor = typename detail::InputOf<Body>::type;
    using OutputTensor = Tensor<Scalar, output == Output::all ? 3 : 2>;
    static constexpr Index out_width = Body::out_width;
    static constexpr Output output_kind = output;

    Body body;

    /// The tokens that this rank of a ring is to hold. Throws as ring_attention::share does.
    template <Ring R>
    static Share share(const R& ring, Index seq_len) {
        return ring_attention::share(ring, seq_len, num_chunks, layout);
    }

    static void visit(auto&& f, auto&... self) { Body::visit(f, self.body...); }

    /// What backward needs to remember of a forward pass.
    struct Cache {
        std::optional<Share> share;
        Index batch = 0;
        Sequences sequences;
        typename Body::Cache body;
    };

    /// Inference: [batch, seq_len, in_width] or tokens [batch, seq_len] => the shape of `output`. Throws
    /// ShapeError where the input does not fit, Error where a token is not in the vocabulary or documents or
    /// lengths do not fit.
    OutputTensor operator()(const InputTensor& x, const Sequences& sequences = {}) const {
        LocalRing ring;
        return (*this)(x, sequences, ring);
    }

    template <Ring R>
    OutputTensor operator()(const InputTensor& x, R& ring) const {
        return (*this)(x, {}, ring);
    }

    template <Ring R>
    OutputTensor operator()(const InputTensor& x, const Sequences& sequences, R& ring) const {
        return run(x, nullptr, sequences, KeepPatternReference{}, ring);
    }

    /// As model(x), and fills the cache.
    OutputTensor forward(const InputTensor& x, Cache& cache, const Sequences& sequences = {}) const {
        LocalRing ring;
        return forward(x, cache, sequences, ring);
    }

    template <Ring R>
    OutputTensor forward(const InputTensor& x, Cache& cache, R& ring) const {
        return forward(x, cache, Sequences{}, ring);
    }

    template <Ring R>
    OutputTensor forward(const InputTensor& x, Cache& cache, const Sequences& sequences, R& ring) const {
        return run(x, &cache, sequences, KeepPatternReference{}, ring);
    }

    /// In training mode: with a Dropout{seed, step}, or keep patterns of the caller's own.
    template <KeepPatterns Patterns>
    OutputTensor forward(const InputTensor& x, Cache& cache, const Patterns& keep_patterns) const {
        LocalRing ring;
        return forward(x, cache, Sequences{}, keep_patterns, ring);
    }

    template <KeepPatterns Patterns>
    OutputTensor forward(const InputTensor& x, Cache& cache, const Sequences& sequences,
                         const Patterns& keep_patterns) const {
        LocalRing ring;
        return forward(x, cache, sequences, keep_patterns, ring);
    }

    template <KeepPatterns Patterns, Ring R>
    OutputTensor forward(const InputTensor& x, Cache& cache, const Patterns& keep_patterns, R& ring) const {
        return forward(x, cache, Sequences{}, keep_patterns, ring);
    }

    template <KeepPatterns Patterns, Ring R>
    OutputTensor forward(const InputTensor& x, Cache& cache, const Sequences& sequences,
                         const Patterns& keep_patterns, R& ring) const {
        return run(x, &cache, sequences, KeepPatternReference(keep_patterns), ring);
    }

    /// The gradient of dot(d_output, output) with respect to the input is returned (nothing for tokens);
    /// those of the parameters are added to `gradient`, which on several ranks is the same on all, before and
    /// after. Throws ShapeError where d_output is not of the output's shape, Error where the cache holds no
    /// forward pass; then nothing has changed. Where memory runs out (std::bad_alloc) or the ring breaks
    /// half-way (RingError), `gradient` holds a part of what was to be added: zero it before it is used
    /// again.
    auto backward(const OutputTensor& d_output, const Cache& cache, Model& gradient) const {
        LocalRing ring;
        return backward(d_output, cache, gradient, ring);
    }

    template <Ring R>
    auto backward(const OutputTensor& d_output, const Cache& cache, Model& gradient, R& ring) const {
        if (!cache.share) throw Error("backward: the cache holds no forward pass");
        const Share& share = *cache.share;
        require_shape("d_output", d_output.dimensions(), output_shape(cache.batch, share));
        if (share.rank() != ring.rank() || share.ranks() != ring.ranks())
            throw RingError("backward: the cache is of another ring than the one given");
        const Pass<R> pass{ring, share, cache.batch, KeepPatternReference{}, 0, false, &cache.sequences};
        Matrix<Scalar> d = leave_backward(d_output, share, cache.sequences);
        add_seat_gradients(gradient, ring, share, cache.batch, [&](const SeatGradients<Model>& gradients) {
            const auto of_body = gradients.part([](auto& model) -> auto& { return model.body; });
            if constexpr (TokenBody<Body>)
                body.backward(std::move(d), cache.body, of_body, pass);
            else
                d = body.backward(std::move(d), cache.body, of_body, pass);
        });
        if constexpr (!TokenBody<Body>) {
            InputTensor d_input(cache.batch, share.num_tokens(), detail::InputOf<Body>::width);
            leave_seats(d, cache.batch, share, d_input.data());
            return d_input;
        }
    }

  private:
    template <Ring R>
    OutputTensor run(const InputTensor& x, Cache* cache, const Sequences& sequences,
                     KeepPatternReference keep_patterns, R& ring) const {
        const Share share = enter(x, sequences, keep_patterns, ring);
        const Index batch = x.dimension(0);
        const bool last_only = output == Output::last_timestep && !cache && sequences.lengths.empty();
        const Pass<R> pass{ring, share, batch, keep_patterns, 0, last_only, &sequences};
        if (cache) cache->share.reset();  // no pass to go back through, should this one fail
        const Matrix<Scalar> rows =
            body.forward(enter_seats(x.data(), batch, detail::InputOf<Body>::width, share),
                         cache ? &cache->body : nullptr, pass);
        if (cache) {
            cache->share = share;
            cache->batch = batch;
            cache->sequences = sequences;
        }
        return leave(rows, pass);
    }

    /// What all options of this model come to, also those that no parameter shows.
    static std::uint64_t fingerprint_of_options() { return fingerprint_of_type<Model>(); }

    /// Checks the input, and finds this rank's share of the whole sequence.
    template <Ring R>
    Share enter(const InputTensor& x, const Sequences& sequences, const KeepPatternReference& keep_patterns,
                R& ring) const {
        require_countable("x", x.dimensions());
        if constexpr (!TokenBody<Body>)
            if (x.dimension(2) != Body::in_width)
                throw ShapeError("x has shape " + shape_text(x.dimensions()) +
                                 ", expected [batch, seq_len, " + std::to_string(Body::in_width) + "]");
        if (x.dimension(0) < 1)
            throw ShapeError("x has shape " + shape_text(x.dimensions()) +
                             ", expected a batch of at least 1");
        if constexpr (TokenBody<Body>) detail::require_in_vocabulary<Body>(x);
        const bool several = ring.ranks() > 1;
        const Share share =
            agree_on_share(ring, num_chunks, layout, x.dimension(1),
                           {{"batch", x.dimension(0)},
                            agreed_fingerprint("options", several ? fingerprint_of_options() : 0),
                            agreed_fingerprint("dropout", keep_patterns.key()),
                            detail::agreed_numbers("document_starts", sequences.document_starts),
                            detail::agreed_numbers("lengths", sequences.lengths),
                            agreed_fingerprint("weights", several ? fingerprint(*this) : 0)});
        const Index seq_len = share.layout().seq_len();
        detail::require_documents(sequences.document_starts, seq_len, "Sequences");
        detail::require_lengths(sequences.lengths, x.dimension(0), seq_len, "Sequences");
        return share;
    }

    static auto output_shape(Index batch, const Share& share) {
        if constexpr (output == Output::all)
            return tensor_shape(batch, share.num_tokens(), out_width);
        else
            return tensor_shape(batch, out_width);
    }

    template <Ring R>
    static OutputTensor leave(const Matrix<Scalar>& rows, const Pass<R>& pass) {
        const Share& share = pass.share;
        OutputTensor y(output_shape(pass.batch, share));
        if constexpr (output == Output::all) {
            leave_seats(rows, pass.batch, share, y.data());
            return y;
        }
        detail::MapOf<typename Matrix<Scalar>::PlainObject> pooled(y.data(), pass.batch, out_width);
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

    static Matrix<Scalar> leave_backward(const OutputTensor& d_output, const Share& share,
                                         const Sequences& sequences) {
        const Index batch = d_output.dimension(0);
        if constexpr (output == Output::all)
            return enter_seats(d_output.data(), batch, out_width, share);
        else
            return pool_backward<Scalar>(
                output,
                detail::MapOf<const typename Matrix<Scalar>::PlainObject>(d_output.data(), batch, out_width),
                share, sequences);
    }
};

}  // namespace ring_attention::inline RING_ATTENTION_ABI
