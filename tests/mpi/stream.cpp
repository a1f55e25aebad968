// A stream shared among MPI processes gives the bits that one process alone gives.

#include <vector>

#include <doctest/doctest.h>

#include <ring_attention/layers/sequential.hpp>
#include <ring_attention/models/build.hpp>
#include <ring_attention/models/stream.hpp>
#include <ring_attention/ring/mpi/mpi_ring.hpp>
#include <ring_attention/sequence/scatter.hpp>

#include "support/compare.hpp"
#include "support/error_message.hpp"
#include "support/instances.hpp"
#include "support/mpi_case.hpp"
#include "support/tensors.hpp"

namespace {

namespace ra = ring_attention;
using ra::Index;
using X = ra::Tensor<float, 3>;

constexpr ra::AttentionLayerOptions grouped{.width = 8, .heads = 4, .key_value_heads = 2, .sinks = true},
    windowed{.width = 8, .heads = 2, .window = 300, .rotary = {.on = true}};
using Model = ra::Model<ra::Sequential<ra::RingAttention<float, grouped>, ra::RingAttention<float, windowed>>,
                        ra::Output::all>;

X random_input(Index count) {
    return tensors::normal<float, 3>({2, count, 8}, 1);
}

/// The outputs at the tokens of x behind the first `prompt`, which the ranks compute together.
X outputs(const Model& model, auto& ring, const X& x, Index prompt) {
    ra::Stream stream{model, ring, {.batch = 2}};
    if (prompt > 0) stream.prefill(ra::tokens_of(tensors::slice(x, 1, 0, prompt), model.share(ring, prompt)));
    std::vector<X> outputs;
    for (const Index count : {1, 1, 600, 1, 20, 1}) {
        outputs.push_back(stream.push_all(tensors::slice(x, 1, stream.size(), count)));
    }
    return tensors::join(outputs, 1);
}

}  // namespace

TEST_CASE("stream over mpi: the bits of one process") {
    for (const ra::Layout layout : {ra::Layout::contiguous, ra::Layout::zigzag, ra::Layout::striped})
        for (const auto overlap : support::overlaps()) {
            Model model{.body = {}, .num_chunks = 7, .layout = layout};
            ra::initialise(model, 1);
            ra::MpiRing ring(MPI_COMM_WORLD, {.overlap = overlap});
            ra::LocalRing alone;
            for (const Index prompt : {0, 2, 500}) {
                CAPTURE(prompt);
                const X x = random_input(prompt + 624);
                CHECK(compare::same_bits(outputs(model, ring, x, prompt), outputs(model, alone, x, prompt)));
            }
        }
}

TEST_CASE("stream over mpi: ranks that push other tokens all say the same, and go on") {
    Model model{.body = {}, .num_chunks = 7};
    ra::initialise(model, 1);
    ra::MpiRing ring(MPI_COMM_WORLD);
    if (ring.ranks() == 1) return;
    ra::Stream stream{model, ring, {.batch = 2}};
    X x = random_input(3);
    if (ring.rank() == 1) x(0, 0, 0) = 5;
    CHECK(support::error_message([&] { stream.push(x); }) == "rank 1 has other x than rank 0");
    CHECK(stream.size() == 0);
    const X whole = model(random_input(3));
    CHECK(compare::largest_difference(stream.push_all(random_input(3)), whole) < 2e-6);
}
