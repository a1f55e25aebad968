// Of a model that gives the last timestep, inference computes in its last layer what the last token needs and
// no more; with a cache it computes all. The bits are the same.

#include <atomic>

#include <doctest/doctest.h>

#include <ring_attention/layers/gelu.hpp>
#include <ring_attention/layers/sequential.hpp>
#include <ring_attention/models/build.hpp>
#include <ring_attention/ring/thread/thread_ring.hpp>
#include <ring_attention/sequence/scatter.hpp>

#include "support/compare.hpp"
#include "support/tensors.hpp"

namespace models_last_timestep {

namespace ra = ring_attention;

namespace {

constexpr ra::Index num_chunks = 3, in_width = 6;

/// Around the number of chunks, and around the tiles of queries and keys in each of them.
constexpr ra::Index seq_lens[] = {1, 2, 3, 4, 7, 47, 48, 49, 97, 350};

void check_same_bits(const auto& model) {
    using Model = std::remove_cvref_t<decltype(model)>;
    for (const ra::Index batch : {1, 3})
        for (const ra::Index seq_len : seq_lens) {
            CAPTURE(batch);
            CAPTURE(seq_len);
            const auto x = tensors::normal<float, 3>({batch, seq_len, in_width}, 1);
            typename Model::Cache cache;
            const auto whole = model.forward(x, cache);
            CHECK(compare::same_bits(model(x), whole));
            for (int ranks = 1; ranks <= num_chunks; ++ranks) {
                CAPTURE(ranks);
                std::atomic<int> same = 0;
                ra::ThreadRing::run(ranks, [&](ra::ThreadRing& ring) {
                    const auto own = ra::tokens_of(x, model.share(ring, seq_len));
                    same += compare::same_bits(model(own, ring), whole);
                });
                CHECK(same == ranks);
            }
        }
}

template <ra::Index layers, ra::Layout layout = ra::Layout::contiguous>
constexpr ra::Options options{.embed_dim = in_width,
                              .hidden_size = 8,
                              .num_heads = 2,
                              .num_chunks = num_chunks,
                              .num_layers = layers,
                              .output = ra::Output::last_timestep,
                              .layout = layout};

}  // namespace

TEST_CASE("last timestep: the same bits as of all timesteps, one layer") {
    check_same_bits(ra::build<options<1>>(3));
}

TEST_CASE("last timestep: the same bits as of all timesteps, two layers") {
    check_same_bits(ra::build<options<2>>(3));
}

TEST_CASE("last timestep: the same bits as of all timesteps, two layers, zigzag and striped") {
    check_same_bits(ra::build<options<2, ra::Layout::zigzag>>(3));
    check_same_bits(ra::build<options<2, ra::Layout::striped>>(3));
}

TEST_CASE("last timestep: the same bits as of all timesteps, attention the last of a user's own layers") {
    constexpr ra::AttentionLayerOptions four{.width = 8, .heads = 4};
    constexpr ra::AttentionLayerOptions two{.width = 8,
                                            .heads = 4,
                                            .key_value_heads = 2,
                                            .head_width = 6,
                                            .causal = false,
                                            .window = 20,
                                            .query_key_norm = true,
                                            .rotary = {.on = true}};
    using Body = ra::Sequential<ra::Dense<float, in_width, 8>, ra::RingAttention<float, four>,
                                ra::Gelu<float, 8>, ra::RingAttention<float, two>>;
    ra::Model<Body, ra::Output::last_timestep> model{.body = {}, .num_chunks = num_chunks};
    ra::initialise(model, 3);
    check_same_bits(model);
}

}  // namespace models_last_timestep
