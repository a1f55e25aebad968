#pragma once

#include <algorithm>
#include <cstdint>
#include <exception>
#include <optional>
#include <string>
#include <utility>

#include <ring_attention/layers/stream_pass.hpp>
#include <ring_attention/models/model.hpp>
#include <ring_attention/models/stream_call.hpp>

namespace ring_attention::inline RING_ATTENTION_ABI {

struct StreamOptions {
    Index batch = 1;     ///< sequences side by side
    Index capacity = 0;  ///< tokens of a document that there is room for from the start, and no more; 0: no
                         ///< bound. Where ranks share them, a prefill may move up to a block a seat.
};

/// Inference token by token: ra::Stream stream{model}; y = stream.push(x_t). What comes out is what the model
/// gives for all tokens so far, up to rounding. A token costs time in proportion to the tokens before it that
/// it sees; they are not computed again, their keys and values are kept, of each attention layer
///
///     2 x batch x key_value_heads x head_width x room numbers,
///
/// where room is capacity(), the one stated or, without one, at most twice the tokens so far; and where the
/// layer has a window, no more than window + portion, however long the stream. (While it grows, the old and
/// the new of one layer are there at once.) Beside that, a push needs what the layers need for at most
/// `portion` tokens of each sequence, however many it is given.
///
/// A stream on a ring, ra::Stream stream{model, ring}, shares the keys and values among the ranks: with P of
/// them each keeps about 1 / P, up to StreamLayout::block tokens for each of its seats, of which the ring has
/// the model's num_chunks; so it goes on where one machine would be full. All ranks make it, push the same
/// and get the same, with the same bits on any number of ranks. The layers are computed by every rank; what
/// travels is, of each attention layer and once for each pass of up to `portion` tokens,
///
///     tokens x batch x heads x (head_width + 2) numbers
///
/// of each seat with tokens that are seen, to each other rank. A ring that breaks in the middle of a push
/// (RingError) leaves the stream of no more use. The ring must outlive the stream; RingError where the ranks
/// do not have, or push, the same.
///
/// The model must outlive the stream; its weights are read at each push. A copy of a stream goes on by
/// itself. Everything is refused before anything has changed, by ShapeError or Error. Where memory runs out
/// in the middle of a push, size() says how many of its portions were taken.
template <class M>
class Stream {
    using Body = decltype(M::body);
    static_assert(StreamingLayer<Body>,
                  "Stream: a layer of the model does not promise to be a StreamingLayer");

  public:
    using Scalar = typename M::Scalar;
    using SequenceTensor = typename M::InputTensor;  ///< [batch, tokens, in_width], or tokens [batch, tokens]
    using Number = typename SequenceTensor::Scalar;
    using StepTensor = Tensor<Number, SequenceTensor::NumDimensions - 1>;
    static constexpr Index out_width = M::out_width;
    static constexpr Index portion = 512;

    explicit Stream(const M& model, const StreamOptions& options = {})
        : Stream(model, std::optional<RingReference>(), options) {}

    /// Shared among the ranks of a ring.
    template <Ring R>
    Stream(const M& model, R& ring, const StreamOptions& options = {})
        : Stream(model, std::optional<RingReference>(ring), options) {}

    Stream(const M&&, const StreamOptions& = {}) = delete;  // it would not outlive the stream
    template <Ring R>
    Stream(const M&&, R&, const StreamOptions& = {}) = delete;

    /// The next token of each sequence: x_t [batch, in_width], or a token each [batch] => [batch, out_width].
    template <class X>
    requires(X::NumDimensions == StepTensor::NumDimensions) Tensor<Scalar, 2> push(const X& x_t) {
        const StepTensor& step = x_t;
        agree_on_input(Call::push, step, [&] { require_input("x_t", step); });
        return push_last(step.data(), 1);
    }

    /// The next token of the only sequence.
    Tensor<Scalar, 2> push(Token token) requires TokenBody<Body> {
        const Eigen::TensorMap<const StepTensor> step(&token, 1);
        agree_on_input(Call::push, step, [&] { require_input("x_t", step); });
        return push_last(&token, 1);
    }

    /// Several tokens at once, which is much faster than one after the other: x [batch, tokens, in_width], or
    /// tokens [batch, tokens] => [batch, out_width] at the last of them.
    template <class X>
    requires(X::NumDimensions == SequenceTensor::NumDimensions) Tensor<Scalar, 2> push(const X& x) {
        const SequenceTensor& sequence = x;
        agree_on_input(Call::push, sequence, [&] { require_sequence(sequence); });
        return push_last(sequence.data(), sequence.dimension(1));
    }

    /// The same, and what comes out at each of them: [batch, tokens, out_width].
    Tensor<Scalar, 3> push_all(const SequenceTensor& x) {
        agree_on_input(Call::push_all, x, [&] { require_sequence(x); });
        const Index count = x.dimension(1);
        Tensor<Scalar, 3> y(options_.batch, count, out_width);
        run(x.data(), count, count, y.data());
        return y;
    }

    /// The first tokens, of which the ranks of the stream's ring compute each its own: x as for the model on
    /// this ring, this rank's tokens => [batch, out_width] at the last token of all, the same on every rank.
    /// Every rank keeps the keys and values of its own tokens. Throws Error where the stream has tokens
    /// already; where it fails half-way, the stream is empty as before. Without a ring, x is all tokens.
    Tensor<Scalar, 2> prefill(const SequenceTensor& x) requires(M::output_kind != Output::mean_pool) {
        if (!ring_) {
            LocalRing alone;
            return start(x, alone);
        }
        detail::agree_on_call(*ring_,
                              {Call::prefill, size_, document_start_, x.dimension(0), 0, width_of(x)});
        return start(x, *ring_);
    }

    /// The same for a stream without a ring on each rank of one: every rank has the keys and values of all
    /// tokens then, and goes on by itself, as all others do: with the same bits, on any number of ranks.
    Tensor<Scalar, 2> prefill(const SequenceTensor& x,
                              RingReference ring) requires(M::output_kind != Output::mean_pool) {
        if (ring_) throw Error("prefill: the stream has a ring, expected that no other is given");
        return start(x, ring);
    }

    /// What comes next is another document, which sees nothing of what was before, and whose positions count
    /// from its start: as if Sequences::document_starts named size(). The memory is kept; capacity() counts
    /// anew.
    void begin_document() {
        document_start_ = size_;
        memory_.begin_document(size_);
    }

    /// Forgets all tokens, and keeps the memory.
    void reset() {
        size_ = 0;
        begin_document();
        sums_ = Matrix<double>::Zero(options_.batch, out_width);
    }

    Index batch() const { return options_.batch; }
    Index size() const { return size_; }             ///< tokens of each sequence so far
    Index capacity() const { return capacity_; }     ///< tokens of each document that there is room for
    Index bytes() const { return memory_.bytes(); }  ///< of this rank's keys and values

  private:
    static constexpr Index in_width = detail::InputOf<Body>::width;
    static constexpr bool mean = M::output_kind == Output::mean_pool;

    Stream(const M& model, const std::optional<RingReference>& ring, const StreamOptions& options)
        : model_(&model),
          options_(options),
          ring_(ring),
          max_positions_(detail::input_bounds(model.body).max_positions) {
        if (ring_) memory_ = share_memory();
        if (options.batch < 1)
            throw ShapeError("StreamOptions: batch is " + std::to_string(options.batch) +
                             ", expected at least 1");
        if (options.capacity < 0)
            throw ShapeError("StreamOptions: capacity is " + std::to_string(options.capacity) +
                             ", expected at least 0");
        reset();
        capacity_ = options.capacity;
        if (capacity_ > 0) evaluate({0, 1}, Matrix<Number>::Zero(options.batch, in_width), capacity_, true);
    }

    /// Of this rank's seats. Throws RingError where the ranks do not have alike what they must.
    StreamMemory<Scalar> share_memory() const {
        agree(*ring_, {{"num_chunks", model_->num_chunks},
                       {"batch", options_.batch},
                       {"capacity", options_.capacity},
                       agreed_fingerprint("options", fingerprint_of_type<M>()),
                       agreed_fingerprint("weights", fingerprint(*model_))});
        const ChunkLayout token_a_seat(model_->num_chunks, model_->num_chunks);
        const Share seats(token_a_seat, ring_->rank(), ring_->ranks());
        return {model_->num_chunks, {seats.first_seat(), seats.num_seats()}};
    }

    using Call = detail::StreamCall;

    /// Calls require(), which throws Error where x is of no use; on a ring, where the ranks have the same x
    /// and so the same error.
    template <class X>
    void agree_on_input(Call call, const X& x, const auto& require) const {
        if (!ring_) return require();
        std::exception_ptr refused;
        std::uint64_t contents = 0;
        try {
            require();
            contents = fingerprint(std::as_bytes(std::span(x.data(), std::size_t(x.size()))));
        } catch (const Error& error) {
            refused = std::current_exception();
            contents = fingerprint(std::string_view(error.what()));
        }
        constexpr bool sequence = X::NumDimensions == SequenceTensor::NumDimensions;
        detail::agree_on_call(*ring_, {call, size_, document_start_, x.dimension(0),
                                       sequence ? x.dimension(1) : 1, width_of(x), contents});
        if (refused) std::rethrow_exception(refused);
    }

    template <class X>
    static Index width_of(const X& x) {
        return TokenBody<Body> ? 1 : x.dimension(X::NumDimensions - 1);
    }

    /// The first tokens, of which this rank of the ring has x.
    Tensor<Scalar, 2> start(const SequenceTensor& x, RingReference ring) {
        if (size_ > 0)
            throw Error("prefill: the stream has " + std::to_string(size_) +
                        " tokens already, expected none");
        if (x.dimension(0) != options_.batch)
            throw ShapeError("prefill: x has a batch of " + std::to_string(x.dimension(0)) + ", expected " +
                             std::to_string(options_.batch));
        const Index seats = memory_.layout().num_seats();
        if (ring_ && model_->num_chunks != seats)
            throw Error("prefill: the model has num_chunks " + std::to_string(model_->num_chunks) +
                        ", expected " + std::to_string(seats) + ", as when the stream was made");
        Index count = 0, room = 0;
        Matrix<Scalar> last;
        try {
            last = model_->start_stream(x, ring, [&](Index seq_len) -> StreamMemory<Scalar>& {
                count = seq_len;
                room = room_for(count);
                if (ring_) memory_.begin_with(ChunkLayout(seq_len, seats, model_->layout));
                memory_.begin_pass(room, portion);
                return memory_;
            });
        } catch (...) {
            memory_.begin_document(0);
            throw;
        }
        size_ = count;
        capacity_ = room;
        Tensor<Scalar, 2> y(options_.batch, out_width);
        std::copy_n(last.data(), last.size(), y.data());
        return y;
    }

    template <class X>
    void require_input(const char* name, const X& x) const {
        auto expected = x.dimensions();
        expected[0] = options_.batch;
        if constexpr (!TokenBody<Body>) expected[X::NumDimensions - 1] = in_width;
        require_shape(name, x.dimensions(), expected);
        require_countable(name, x.dimensions());
        if constexpr (TokenBody<Body>) detail::require_in_vocabulary<Body>(x);
    }

    void require_sequence(const SequenceTensor& x) const {
        if (x.dimension(1) < 1)
            throw ShapeError("x has shape " + shape_text(x.dimensions()) + ", expected at least 1 token");
        require_input("x", x);
    }

    Tensor<Scalar, 2> push_last(const Number* x, Index count) {
        Tensor<Scalar, 2> y(options_.batch, out_width);
        run(x, count, 1, y.data());
        return y;
    }

    /// x [batch, count, in_width]; y [batch, wanted, out_width], at the last of them.
    void run(const Number* x, Index count, Index wanted, Scalar* y) {
        const Index room = room_for(count), first_wanted = size_ + count - wanted;
        for (Index done = 0; done < count; done += portion) {
            const TokenPositions next{size_, std::min(portion, count - done)};
            Matrix<Number> rows(options_.batch * next.count, in_width);
            for (Index b = 0; b < options_.batch; ++b)
                std::copy_n(x + (b * count + done) * in_width, next.count * in_width,
                            rows.data() + b * next.count * in_width);
            const Matrix<Scalar> outputs = evaluate(next, std::move(rows), room, wanted == 1 && !mean);
            leave(outputs, next, wanted, first_wanted, y);
            size_ += next.count;
            capacity_ = room;
        }
    }

    /// The tokens to have room for when so many more come.
    Index room_for(Index count) const {
        const Index size = size_ - document_start_;
        if (options_.capacity > 0 && count > options_.capacity - size)
            throw ShapeError("push: " + std::to_string(count) + " tokens after " + std::to_string(size) +
                             ", expected at most " + std::to_string(options_.capacity) +
                             " in all, the capacity");
        if (count > max_positions_ - size)
            throw ShapeError("push: " + std::to_string(count) + " tokens after " + std::to_string(size) +
                             " of the document, expected at most " + std::to_string(max_positions_) +
                             " in all, the positions that the model has learned");
        return size + count <= capacity_ ? capacity_ : std::max(size + count, 2 * capacity_);
    }

    /// The body on the next tokens, [batch * tokens, in_width] => [batch * tokens, out_width], or at the last
    /// of them alone.
    Matrix<Scalar> evaluate(const TokenPositions& next, Matrix<Number> rows, Index room, bool last_only) {
        memory_.begin_pass(room, portion);
        LocalRing alone;
        const StreamPass<Scalar> pass{ring_ ? *ring_ : RingReference(alone),
                                      memory_,
                                      {next},
                                      options_.batch,
                                      {},
                                      last_only,
                                      0,
                                      document_start_};
        return model_->body.forward(std::move(rows), nullptr, pass);
    }

    /// Adds the outputs at the tokens `next` to the sums of a mean, and writes those from position
    /// `first_wanted` on.
    void leave(const Matrix<Scalar>& outputs, const TokenPositions& next, Index wanted, Index first_wanted,
               Scalar* y) {
        const Index tokens = outputs.rows() / options_.batch;  // the last of them
        for (Index row = 0; row < outputs.rows(); ++row) {
            const Index b = row / tokens, position = next.position(next.count - tokens + row % tokens);
            if constexpr (mean) sums_.row(b) += outputs.row(row).template cast<double>();
            if (position < first_wanted) continue;
            detail::MapOf<typename RowVector<Scalar>::PlainObject> to(
                y + (b * wanted + position - first_wanted) * out_width, out_width);
            if constexpr (mean)
                to = (sums_.row(b) / double(position + 1)).template cast<Scalar>();
            else
                to = outputs.row(row);
        }
    }

    const M* model_;
    StreamOptions options_;
    std::optional<RingReference> ring_;
    Index max_positions_;  // of a document
    StreamMemory<Scalar> memory_;
    Index size_ = 0, document_start_ = 0, capacity_ = 0;
    Matrix<double> sums_;  // [batch, out_width] of all outputs, for a mean
};

}  // namespace ring_attention::inline RING_ATTENTION_ABI
