// Layers whose keys and values are kept and sent as bfloat16: forward, backward, on ranks and in streams.

#include <algorithm>
#include <span>
#include <stdexcept>
#include <vector>

#include <doctest/doctest.h>

#include <ring_attention/layers/sequential.hpp>
#include <ring_attention/models/build.hpp>
#include <ring_attention/models/stream.hpp>
#include <ring_attention/ring/thread/thread_ring.hpp>
#include <ring_attention/sequence/scatter.hpp>

#include "support/compare.hpp"
#include "support/layer_case.hpp"
#include "support/tensors.hpp"

namespace models_stream_storage {

namespace {

namespace ra = ring_attention;
using X = ra::Tensor<double, 3>;

constexpr ra::AttentionLayerOptions grouped(ra::Storage storage) {
    return {.width = 4, .heads = 4, .key_value_heads = 2, .sinks = true, .storage = storage};
}

constexpr ra::AttentionLayerOptions turned(ra::Storage storage) {
    return {.width = 4,
            .heads = 2,
            .window = 9,
            .query_key_norm = true,
            .rotary = {.on = true},
            .storage = storage};
}

template <class... Layers>
using ModelOf = ra::Model<ra::Sequential<Layers...>, ra::Output::all>;

template <ra::Storage storage>
using Grouped = ra::RingAttention<double, grouped(storage)>;
template <ra::Storage storage>
using Turned = ra::RingAttention<double, turned(storage)>;

constexpr ra::Storage computing = ra::Storage::computing, bfloat16 = ra::Storage::bfloat16;
using Model = ModelOf<Grouped<bfloat16>, Turned<bfloat16>>;
using Stream = ra::Stream<Model>;

template <class M>
M random_model() {
    M model{.body = {}, .num_chunks = 5};
    support::randomise(model);
    return model;
}

X random_input(ra::Index count) {
    return tensors::normal<double, 3>({2, count, 4}, 1);
}

/// Output and gradients of this rank's tokens; the gradients of parameters on rank 0.
struct Run {
    X output, d_x;
    std::vector<double> gradient;
};

template <class M>
Run run(const M& model, const X& x, ra::RingReference ring) {
    typename M::Cache cache;
    M gradient = ra::zeros_like(model);
    const ra::Share share = model.share(ring, x.dimension(1));
    Run run;
    run.output = model.forward(ra::tokens_of(x, share), cache, ring);
    run.d_x =
        model.backward(ra::tokens_of(tensors::normal<double, 3>({2, x.dimension(1), M::out_width}, 2), share),
                       cache, gradient, ring);
    ra::for_each_parameter(gradient, [&](std::string_view, const auto& tensor) {
        run.gradient.insert(run.gradient.end(), tensor.data(), tensor.data() + tensor.size());
    });
    return run;
}

template <class M>
Run run_alone(const M& model, const X& x) {
    ra::LocalRing ring;
    return run(model, x, ring);
}

}  // namespace

TEST_CASE("stored as bfloat16: keys and values that are numbers of it give the bits of the plain layer") {
    const auto of_integers = [](auto&& numbers) {
        std::uint64_t turn = 0;
        for (double& number : numbers) number = double(++turn * 7 % 5) - 2;
    };
    const auto run_integers = [&]<class M>(M model) {
        ra::for_each_parameter(model, [&](std::string_view, auto& tensor) {
            of_integers(std::span(tensor.data(), std::size_t(tensor.size())));
        });
        X x(2, 23, 4);
        of_integers(std::span(x.data(), std::size_t(x.size())));
        return run_alone(model, x);
    };
    const Run stored = run_integers(ModelOf<Grouped<bfloat16>>{.body = {}, .num_chunks = 5}),
              plain = run_integers(ModelOf<Grouped<computing>>{.body = {}, .num_chunks = 5});
    CHECK(compare::same_bits(stored.output, plain.output));
    CHECK(compare::same_bits(stored.d_x, plain.d_x));
    CHECK(compare::same_bits(stored.gradient, plain.gradient));
    CHECK(compare::largest(stored.gradient) > 1);
}

TEST_CASE("stored as bfloat16: with norms and turns, output and gradients are those of rounding, not more") {
    const X x = random_input(40);
    const Run stored = run_alone(random_model<ModelOf<Turned<bfloat16>>>(), x),
              plain = run_alone(random_model<ModelOf<Turned<computing>>>(), x);
    for (const double difference : {compare::relative_difference(stored.output, plain.output),
                                    compare::relative_difference(stored.d_x, plain.d_x),
                                    compare::relative_difference(stored.gradient, plain.gradient)}) {
        CHECK(difference > 1e-5);
        CHECK(difference < 0.01);
    }
}

TEST_CASE("stored as bfloat16: ranks give the same bits") {
    const Model model = random_model<Model>();
    const X x = random_input(23);
    const Run alone = run_alone(model, x);
    for (const int ranks : {1, 2, 3, 5})
        CHECK_NOTHROW(ra::ThreadRing::run(ranks, [&](ra::ThreadRing& ring) {
            const Run own = run(model, x, ring);
            const ra::Share share = model.share(ring, 23);
            if (!compare::same_bits(own.output, ra::tokens_of(alone.output, share)) ||
                !compare::same_bits(own.d_x, ra::tokens_of(alone.d_x, share)) ||
                (ring.rank() == 0 && !compare::same_bits(own.gradient, alone.gradient)))
                throw std::runtime_error("other bits");
        }));
}

TEST_CASE("stored as bfloat16: a stream gives the whole forward pass, and keeps 2 bytes a number") {
    const Model model = random_model<Model>();
    const X x = random_input(700);
    const X whole = model(x);
    for (const ra::Index size : {1, 13, 700}) {
        CAPTURE(size);
        Stream stream{model, ra::StreamOptions{.batch = 2, .capacity = 700}};
        std::vector<X> outputs;
        for (ra::Index done = 0; done < 700; done += outputs.back().dimension(1))
            outputs.push_back(
                stream.push_all(tensors::slice(x, 1, done, std::min<ra::Index>(size, 700 - done))));
        CHECK(compare::largest_difference(tensors::join(outputs, 1), whole) < 1e-12);
        const ra::Index of_window = 8 + Stream::portion;
        CHECK(stream.bytes() == 2 * 2 * (2 * 2 * 1 * 700 + 2 * 2 * 2 * of_window));
    }
}

TEST_CASE("stored as bfloat16: a prefilled stream goes on with the same bits on any number of ranks") {
    const Model model = random_model<Model>();
    const X x = random_input(30), whole = model(x);
    std::vector<double> alone;
    for (const int ranks : {1, 2, 5})
        CHECK_NOTHROW(ra::ThreadRing::run(ranks, [&](ra::ThreadRing& ring) {
            Stream stream{model, ra::StreamOptions{.batch = 2}};
            const X first = tensors::slice(x, 1, 0, 23);
            stream.prefill(ra::tokens_of(first, model.share(ring, 23)), ring);
            const X next = stream.push_all(tensors::slice(x, 1, 23, 7));
            const std::vector<double> numbers(next.data(), next.data() + next.size());
            if (ranks == 1) alone = numbers;
            if (compare::largest_difference(next, tensors::slice(whole, 1, 23, 7)) > 1e-12)
                throw std::runtime_error("other numbers");
            if (!compare::same_bits(numbers, alone)) throw std::runtime_error("other bits");
        }));
}

}  // namespace models_stream_storage
