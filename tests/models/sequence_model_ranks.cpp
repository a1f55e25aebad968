// The sequence model gives the same bits on any number of ranks and threads, in every layout: outputs and all
// gradients.

#include <stdexcept>
#include <string>

#include <doctest/doctest.h>

#include <ring_attention/models/build.hpp>
#include <ring_attention/ring/thread/thread_ring.hpp>
#include <ring_attention/sequence/scatter.hpp>

#include "support/error_message.hpp"
#include "support/layouts.hpp"
#include "support/model_run.hpp"
#include "support/num_threads.hpp"

namespace models_sequence_model_ranks {

namespace {

namespace ra = ring_attention;

constexpr ra::Index embed_dim = 5;

constexpr ra::Options options_for(ra::Output output, ra::Layout layout = ra::Layout::contiguous) {
    return {.embed_dim = embed_dim,
            .hidden_size = 8,
            .num_heads = 2,
            .num_chunks = 5,
            .num_layers = 2,
            .dropout = 0.25f,
            .output = output,
            .layout = layout};
}

constexpr ra::Dropout dropout{.seed = 3, .step = 8};

template <class Model>
void check_ranks(const Model& model, const auto& masks) {
    for (const ra::Index seq_len : {1, 3, 5, 13, 40}) {  // with fewer tokens than chunks some ranks have none
        const support::ModelCase<Model> c(2, seq_len, embed_dim);
        const auto alone = support::run(model, c.x, c.d_output, masks);
        for (int ranks = 1; ranks <= model.num_chunks; ++ranks) {
            INFO(support::name_of(model.layout), ", seq_len ", seq_len, ", ranks ", ranks);
            CHECK(support::same_bits(support::run_on_ranks(ranks, model, c.x, c.d_output, masks), alone));
        }
    }
}

template <ra::Output output, class T>
void check_every_layout(const auto& masks) {
    check_ranks(support::random_model<options_for(output, ra::Layout::contiguous), T>(7), masks);
    check_ranks(support::random_model<options_for(output, ra::Layout::zigzag), T>(7), masks);
    check_ranks(support::random_model<options_for(output, ra::Layout::striped), T>(7), masks);
}

/// Inference on 3 ranks; of the last layer, only what the last timestep needs.
template <ra::Layout layout>
void check_inference() {
    constexpr ra::Options options = options_for(ra::Output::last_timestep, layout);
    const auto model = support::random_model<options, float>(7);
    const auto x = tensors::normal<float, 3>({2, 13, options.embed_dim}, 1);
    const auto alone = model(x);
    ra::ThreadRing::run(3, [&](ra::ThreadRing& ring) {
        const auto own = ra::tokens_of(x, ra::share<options>(ring, 13));
        if (!compare::same_bits(model(own, ring), alone)) throw std::runtime_error("other bits");
    });
}

template <class Model>
auto run_with_dropout(const Model& model) {
    const support::ModelCase<Model> c(2, 23, embed_dim);
    return support::run(model, c.x, c.d_output, dropout);
}

/// All that comes out, beside what the contiguous layout gives.
void check_close(const auto& run, const auto& contiguous) {
    CHECK(compare::relative_difference(run.output, contiguous.output) < 1e-13);
    CHECK_FALSE(compare::same_bits(run.output, contiguous.output));
    CHECK(compare::relative_difference(run.d_input, contiguous.d_input) < 1e-13);
    for (const auto& parameter : run.gradient) {
        CAPTURE(parameter.first);
        CHECK(compare::largest_difference(parameter.second, contiguous.gradient.at(parameter.first)) < 1e-12);
    }
}

template <ra::Output output>
void check_close_to_contiguous() {
    CAPTURE(int(output));
    auto model = support::random_model<options_for(output), double>(7);
    const auto contiguous = run_with_dropout(model);
    for (const ra::Layout layout : {ra::Layout::zigzag, ra::Layout::striped}) {
        model.layout = layout;
        check_close(run_with_dropout(model), contiguous);
    }
}

}  // namespace

TEST_CASE_TEMPLATE("sequence model: ranks give the same bits, every timestep, with dropout", T, float,
                   double) {
    check_every_layout<ra::Output::all, T>(dropout);
}

TEST_CASE("sequence model: ranks give the same bits, last timestep") {
    check_every_layout<ra::Output::last_timestep, float>(ra::KeepPatternReference{});
}

TEST_CASE("sequence model: ranks give the same bits, mean over the timesteps, with dropout") {
    check_every_layout<ra::Output::mean_pool, float>(dropout);
}

TEST_CASE("sequence model: layouts change results by rounding only, the same tokens are dropped out") {
    check_close_to_contiguous<ra::Output::all>();
    check_close_to_contiguous<ra::Output::last_timestep>();
    check_close_to_contiguous<ra::Output::mean_pool>();
}

TEST_CASE("sequence model: ranks give the same bits in inference") {
    CHECK_NOTHROW(check_inference<ra::Layout::contiguous>());
    CHECK_NOTHROW(check_inference<ra::Layout::zigzag>());
    CHECK_NOTHROW(check_inference<ra::Layout::striped>());
}

TEST_CASE("sequence model: ranks add into a gradient that is not 0 to the same bits") {
    constexpr ra::Options options = options_for(ra::Output::last_timestep);
    const auto model = support::random_model<options, float>(7);
    using Model = std::decay_t<decltype(model)>;
    const support::ModelCase<Model> c(2, 13, options.embed_dim);
    const auto accumulate = [&](auto& ring) {
        const ra::Share share(ra::ChunkLayout(13, options.num_chunks), ring.rank(), ring.ranks());
        typename Model::Cache cache;
        model.forward(ra::tokens_of(c.x, share), cache, ring);
        auto gradient = model;
        for (int i = 0; i < 2; ++i) model.backward(c.d_output, cache, gradient, ring);
        return support::parameters_of<float>(gradient);
    };
    ra::LocalRing local;
    const auto alone = accumulate(local);
    for (const int ranks : {2, 5})
        ra::ThreadRing::run(ranks, [&](ra::ThreadRing& ring) {
            if (!support::same_bits(accumulate(ring), alone)) throw std::runtime_error("other bits");
        });
}

TEST_CASE("sequence model: any number of threads gives the same bits") {
    constexpr ra::Options options = options_for(ra::Output::all);
    const auto model = support::random_model<options, float>(7);
    const support::ModelCase<std::decay_t<decltype(model)>> c(3, 331, options.embed_dim);
    const auto alone = [&] {
        const support::NumThreads one(1);
        return support::run(model, c.x, c.d_output, dropout);
    }();
    for (const int count : {2, 3, 5}) {
        const support::NumThreads threads(count);
        CHECK(support::same_bits(support::run(model, c.x, c.d_output, dropout), alone));
        CHECK(support::same_bits(support::run_on_ranks(2, model, c.x, c.d_output, dropout), alone));
    }
}

namespace {

/// Each rank passes x_of(rank) through the model and back; d_output is whole on every rank.
template <class InputOf>
void run_ranks(int ranks, const InputOf& x_of) {
    constexpr ra::Options options = options_for(ra::Output::last_timestep);
    const auto model = ra::build<options>();
    ra::ThreadRing::run(ranks, [&](ra::ThreadRing& ring) {
        const ra::Tensor<float, 3> x = x_of(ring.rank());
        ra::Tensor<float, 2> d_output(x.dimension(0), options.hidden_size);
        d_output.setConstant(1);
        support::run_on(ring, model, x, d_output, ra::KeepPatternReference{});
    });
}

ra::Tensor<float, 3> ones(ra::Index batch, ra::Index seq_len, ra::Index width = 5) {
    ra::Tensor<float, 3> x(batch, seq_len, width);
    x.setConstant(1);
    return x;
}

}  // namespace

TEST_CASE("sequence model: ranks that do not fit are refused") {
    CHECK_REFUSES(run_ranks(6, [](int) { return ones(1, 1); }), "6 ranks", "5 seats");
    CHECK_REFUSES(run_ranks(2, [](int rank) { return ones(rank + 1, rank == 0 ? 3 : 2); }), "rank 1", "2",
                  "1");
    CHECK_REFUSES(run_ranks(2, [](int) { return ones(1, 3); }), "rank", "3", "expected 4");
    CHECK_REFUSES(run_ranks(3, [](int rank) { return ones(1, rank < 2 ? 2 : 1, rank == 1 ? 4 : 5); }),
                  "x has shape [1, 2, 4], expected [batch, seq_len, 5]");
}

TEST_CASE("sequence model: a rank that throws between forward and backward ends the others with that error") {
    struct Mishap : std::runtime_error {
        using std::runtime_error::runtime_error;
    };
    constexpr ra::Options options = options_for(ra::Output::last_timestep);
    const auto model = ra::build<options>();
    const support::ModelCase<std::decay_t<decltype(model)>> c(1, 1, options.embed_dim);
    for (int culprit = 0; culprit < 5; ++culprit) {
        const auto rank_main = [&](ra::ThreadRing& ring) {
            auto gradient = ra::zeros_like(model);
            typename std::decay_t<decltype(model)>::Cache cache;
            model.forward(c.x, cache, ring);
            if (ring.rank() == culprit) throw Mishap("the disk is full");
            model.backward(c.d_output, cache, gradient, ring);
        };
        CHECK_THROWS_WITH_AS(ra::ThreadRing::run(5, rank_main), "the disk is full", Mishap);
    }
}

}  // namespace models_sequence_model_ranks
