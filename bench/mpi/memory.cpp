// How much memory does a rank need, of a sequence that is as long on any number of ranks? mpirun -n RANKS
// bench_mpi_memory [TOKENS]: forward and backward of a model of two blocks.

#include <algorithm>
#include <array>
#include <cstdio>
#include <string>

#include <ring_attention/mpi.hpp>

#include "../fma_peak.hpp"
#include "../inputs.hpp"
#include "../peak_memory.hpp"

namespace ra = ring_attention;

namespace {

constexpr ra::Options options{.embed_dim = 256,
                              .hidden_size = 256,
                              .num_chunks = 4,
                              .num_layers = 2,
                              .dropout = 0,
                              .output = ra::Output::all,
                              .layout = ra::Layout::zigzag};
using Model = ra::SequenceModel<options>;

/// In bytes. All but `pass` is the same on any number of ranks.
struct Memory {
    double pass = 0;                ///< what it takes at most, input and output included
    double weights = 0;             ///< with their gradient, before the pass
    double gradients_of_seats = 0;  ///< of the pass: a gradient a seat, but none on rank 0
    double process = 0;             ///< at most, with code and MPI

    /// The most of each that a rank needs: on all of them.
    void largest(MPI_Comm ranks) {
        MPI_Allreduce(MPI_IN_PLACE, this, sizeof *this / sizeof(double), MPI_DOUBLE, MPI_MAX, ranks);
    }
};

/// The gradient of |y|^2 / 2.
ra::Tensor<float, 3> forward_backward(const Model& model, Model& gradient, const ra::Share& share,
                                      ra::MpiRing& ring) {
    Model::Cache cache;
    const auto y = model.forward(
        bench::random<ra::Tensor<float, 3>>(1, share.num_tokens(), options.embed_dim), cache, ring);
    return model.backward(y, cache, gradient, ring);
}

Memory measure(ra::MpiRing& ring, ra::Index seq_len) {
    Memory memory;
    const double before = bench::status_bytes("VmRSS");
    const Model model = ra::build<options>();
    Model gradient = ra::zeros_like(model);
    memory.weights = bench::status_bytes("VmRSS") - before;
    const ra::Share share = Model::share(ring, seq_len);
    memory.pass = bench::peak_bytes_of([&] { return forward_backward(model, gradient, share, ring); });
    memory.process = bench::status_bytes("VmHWM");
    if (ring.rank() > 0)
        memory.gradients_of_seats = double(share.num_seats() * ra::parameter_count(model)) * sizeof(float);
    memory.largest(ring.communicator());
    return memory;
}

}  // namespace

int main(int argc, char** argv) {
    return ra::mpi_main(argc, argv, [&](MPI_Comm world) {
        ra::set_num_threads(1);
        const ra::Index seq_len = argc > 1 ? std::stol(argv[1]) : 16384;
        ra::MpiRing ring(world);
        const bench::Stopwatch stopwatch;
        const Memory memory = measure(ring, seq_len);
        if (ring.rank() > 0) return;
        constexpr double megabyte = 1 << 20;
        std::printf(
            "tokens:%td/ranks:%d pass=%.1f of_it_gradients_of_seats=%.1f weights_and_gradient=%.1f "
            "process=%.1f seconds=%.1f\n",
            seq_len, ring.ranks(), memory.pass / megabyte, memory.gradients_of_seats / megabyte,
            memory.weights / megabyte, memory.process / megabyte, stopwatch.seconds());
    });
}
