#pragma once

#include <optional>
#include <utility>

#include <ring_attention/core/fingerprint.hpp>
#include <ring_attention/layers/dropout.hpp>
#include <ring_attention/models/doors.hpp>
#include <ring_attention/models/gradient_chain.hpp>
#include <ring_attention/models/input_bounds.hpp>
#include <ring_attention/ring/local_ring.hpp>
#include <ring_attention/sequence/agreement.hpp>

namespace ring_attention::inline RING_ATTENTION_ABI {

/// A model: a body with doors for tensors, on a ring of num_chunks seats. Call it for inference; forward and
/// backward for learning. Each takes a ring as its last argument (none: all seats in this process); on
/// several ranks, a tensor with a seq_len holds this rank's tokens (see Share), and one without is the same
/// on every rank. What is to be known of the sequences beside their tokens (Sequences: documents, lengths) is
/// the same on every rank, too; with lengths, the last timestep and the mean are those of the true tokens (of
/// none: 0), and what padding gives is nobody's.
///
/// The parameters are walked with for_each_parameter; a gradient is a Model of the same type.
template <class Body, Output output>
requires VectorBody<Body> || TokenBody<Body>
struct Model {
    using Doors = detail::Doors<Body, output>;
    using Scalar = typename Body::Scalar;
    using InputTensor = typename Doors::InputTensor;
    using OutputTensor = typename Doors::OutputTensor;
    static constexpr Index out_width = Body::out_width;
    static constexpr Output output_kind = output;

    Body body;
    /// Seats of the ring, and which tokens sit where: they change results by rounding only, and may be set
    /// between two passes. build<options>() sets what the options say; a model that is made otherwise has
    /// these. They are no parameters: a file of weights does not have them.
    Index num_chunks = 4;
    Layout layout = Layout::contiguous;

    /// The tokens that this rank of a ring is to hold. Throws as ring_attention::share does.
    template <Ring R>
    Share share(const R& ring, Index seq_len) const {
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
    /// lengths do not fit, RingError where the ranks do not have alike what they must.
    OutputTensor operator()(const InputTensor& x, const Sequences& sequences = {},
                            RingReference ring = LocalRing()) const {
        return run(x, nullptr, sequences, {}, ring);
    }
    OutputTensor operator()(const InputTensor& x, RingReference ring) const {
        return run(x, nullptr, {}, {}, ring);
    }

    /// As model(x), and fills the cache.
    OutputTensor forward(const InputTensor& x, Cache& cache, const Sequences& sequences = {},
                         RingReference ring = LocalRing()) const {
        return run(x, &cache, sequences, {}, ring);
    }
    OutputTensor forward(const InputTensor& x, Cache& cache, RingReference ring) const {
        return run(x, &cache, {}, {}, ring);
    }

    /// In training mode: with a Dropout{seed, step}, or keep patterns of the caller's own.
    template <KeepPatterns Patterns>
    OutputTensor forward(const InputTensor& x, Cache& cache, const Sequences& sequences,
                         const Patterns& keep_patterns, RingReference ring = LocalRing()) const {
        return run(x, &cache, sequences, keep_patterns, ring);
    }
    template <KeepPatterns Patterns>
    OutputTensor forward(const InputTensor& x, Cache& cache, const Patterns& keep_patterns,
                         RingReference ring = LocalRing()) const {
        return run(x, &cache, {}, keep_patterns, ring);
    }

    /// The gradient of dot(d_output, output) with respect to the input is returned (nothing for tokens);
    /// those of the parameters are added to `gradient`, which on several ranks is the same on all, before and
    /// after. Throws ShapeError where d_output is not of the output's shape, Error where the cache holds no
    /// forward pass; then nothing has changed. Where memory runs out (std::bad_alloc) or the ring breaks
    /// half-way (RingError), `gradient` holds a part of what was to be added: zero it before it is used
    /// again.
    auto backward(const OutputTensor& d_output, const Cache& cache, Model& gradient,
                  RingReference ring = LocalRing()) const {
        if (!cache.share) throw Error("backward: the cache holds no forward pass");
        const Share& share = *cache.share;
        Doors::require_d_output(d_output, cache.batch, share);
        if (share.rank() != ring.rank() || share.ranks() != ring.ranks())
            throw RingError("backward: the cache is of another ring than the one given");
        const Pass pass{ring, share, cache.batch, {}, 0, false, &cache.sequences};
        Matrix<Scalar> d = Doors::leave_backward(d_output, share, cache.sequences);
        const SeatGradients<Body> gradients(gradient.body, rows_of_seats(share, cache.batch), ring);
        if constexpr (TokenBody<Body>)
            body.backward(std::move(d), cache.body, gradients, pass);
        else
            return Doors::enter_backward(body.backward(std::move(d), cache.body, gradients, pass),
                                         cache.batch, share);
    }

    /// For a stream that starts with the sequence x: what comes out at its last token, [batch, out_width],
    /// the same on every rank. In memory_for(seq_len) is then what layers leave for tokens to come; it is
    /// called when all else has been checked.
    Matrix<Scalar> start_stream(const InputTensor& x, RingReference ring, auto&& memory_for) const {
        const Share share = agree(x, {}, {}, ring);
        const Sequences one_document;
        const Pass pass{ring, share, x.dimension(0), {},
                        0,    true,  &one_document,  memory_for(share.layout().seq_len())};
        const Matrix<Scalar> rows = body.forward(Doors::enter(x, share), nullptr, pass);
        const bool all = rows.rows() == pass.batch * share.num_tokens();
        return pool_last(all ? pass.last_rows(rows) : rows, pass.batch, out_width, ring);
    }

  private:
    OutputTensor run(const InputTensor& x, Cache* cache, const Sequences& sequences,
                     KeepPatternReference keep_patterns, RingReference ring) const {
        const Share share = agree(x, sequences, keep_patterns, ring);
        const Index batch = x.dimension(0);
        const bool last_only = output == Output::last_timestep && !cache && sequences.lengths.empty();
        const Pass pass{ring, share, batch, keep_patterns, 0, last_only, &sequences};
        if (cache) cache->share.reset();  // no pass to go back through, should this one fail
        const Matrix<Scalar> rows =
            body.forward(Doors::enter(x, share), cache ? &cache->body : nullptr, pass);
        if (cache) {
            cache->share = share;
            cache->batch = batch;
            cache->sequences = sequences;
        }
        return Doors::leave(rows, pass);
    }

    /// What all options of this model come to, also those that no parameter shows.
    static std::uint64_t fingerprint_of_options() { return fingerprint_of_type<Model>(); }

    /// Checks the input, and finds this rank's share of the whole sequence.
    Share agree(const InputTensor& x, const Sequences& sequences, const KeepPatternReference& keep_patterns,
                RingReference ring) const {
        Doors::require_input(x);
        const bool several = ring.ranks() > 1;
        const detail::InputBounds bounds = detail::input_bounds(body);
        const detail::TokenTypesVerdict token_types(bounds, sequences.token_types, x.dimension(0),
                                                    x.dimension(1));
        const Share share =
            agree_on_share(ring, num_chunks, layout, x.dimension(1),
                           {{"batch", x.dimension(0)},
                            agreed_fingerprint("options", several ? fingerprint_of_options() : 0),
                            agreed_fingerprint("dropout", keep_patterns.key()),
                            detail::agreed_numbers("document_starts", sequences.document_starts),
                            detail::agreed_numbers("lengths", sequences.lengths),
                            token_types.agreed(),
                            agreed_fingerprint("weights", several ? fingerprint(*this) : 0)});
        const Index seq_len = share.layout().seq_len();
        detail::require_documents(sequences.document_starts, seq_len, "Sequences");
        detail::require_lengths(sequences.lengths, x.dimension(0), seq_len, "Sequences");
        detail::require_positions(bounds, sequences, seq_len);
        token_types.require();
        return share;
    }
};

}  // namespace ring_attention::inline RING_ATTENTION_ABI
