// What backward needs on a rank for gradients, beside the gradient itself: of one layer at a time, whatever
// the number of layers.

#include <barrier>

#include <doctest/doctest.h>

#include <ring_attention/layers/dense.hpp>
#include <ring_attention/layers/stack.hpp>
#include <ring_attention/models/model.hpp>
#include <ring_attention/ring/thread/thread_ring.hpp>

#include "support/num_threads.hpp"
#include "support/system_memory.hpp"

namespace {

namespace ra = ring_attention;

constexpr ra::Index width = 256, num_layers = 12;
using Layer = ra::Dense<float, width, width>;

using Model = ra::Model<ra::Stack<Layer, num_layers>, ra::Output::all>;

/// Layers that a backward pass takes of the system at most, the mean over the ranks.
double layers_taken(int ranks, ra::Index seats_of_rank) {
    const support::NumThreads one(1);
    auto& memory = support::SystemMemory::instance();
    const Model model{.body = {}, .num_chunks = ranks * seats_of_rank};
    std::size_t before = 0, most = 0;
    std::barrier all(ranks);
    ra::ThreadRing::run(ranks, [&](ra::ThreadRing& ring) {
        ra::Tensor<float, 3> x(1, seats_of_rank, width);  // a token a seat
        x.setConstant(1);
        Model::Cache cache;
        Model gradient = ra::zeros_like(model);
        model.forward(x, cache, ring);
        ra::release_memory();
        all.arrive_and_wait();
        if (ring.rank() == 0) {
            memory.take_most_bytes();
            before = memory.bytes();
        }
        all.arrive_and_wait();
        model.backward(x, cache, gradient, ring);
        all.arrive_and_wait();
        if (ring.rank() == 0) most = memory.take_most_bytes();
    });
    return double(most - before) / ranks / double(ra::parameter_count(Layer{}) * ra::Index(sizeof(float)));
}

}  // namespace

TEST_CASE(
    "backward needs memory for the gradients of one layer at a time, once a seat and once for the sum") {
    for (const ra::Index seats : {1, 3}) {
        CAPTURE(seats);
        const double alone = layers_taken(1, seats);  // to compute, which ranks do too
        CHECK(alone < 2);
        for (const int ranks : {2, 4}) {
            CAPTURE(ranks);
            const double for_gradients = layers_taken(ranks, seats) - alone;
            CHECK(for_gradients > 0.5);  // it is measured
            CHECK(for_gradients < double(seats) + 1.2);
        }
    }
}
