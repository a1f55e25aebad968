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

/// In bytes.
struct Memory {
    double of_tokens = 0;             ///< what the pass takes at most, of gradients those of one layer a seat
    double weights_and_gradient = 0;  ///< the same on any number of ranks
    double process = 0;               ///< at most, with all of these, code and MPI

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
    memory.weights_and_gradient = bench::status_bytes("VmRSS") - before;
    const ra::Share share = model.share(ring, seq_len);
    memory.of_tokens = bench::peak_bytes_of([&] { return forward_backward(model, gradient, share, ring); });
    memory.process = bench::status_bytes("VmHWM");
    memory.largest(ring.communicator());
    return memory;
}

void print(const std::string& name, double seconds, const Memory& memory) {
    const auto megabytes = [](double bytes) { return bytes / (1 << 20); };
    std::printf("%-24s %6.1f s  of_tokens=%.1fMB weights_and_gradient=%.1fMB process=%.1fMB\n", name.c_str(),
                seconds, megabytes(memory.of_tokens), megabytes(memory.weights_and_gradient),
                megabytes(memory.process));
}

}  // namespace

int main(int argc, char** argv) {
    return ra::mpi_main(argc, argv, [&](MPI_Comm world) {
        ra::set_num_threads(1);
        const std::string tokens = argc > 1 ? argv[1] : "16384";
        ra::MpiRing ring(world);
        const bench::Stopwatch stopwatch;
        const Memory memory = measure(ring, std::stol(tokens));
        if (ring.rank() == 0)
            print("tokens:" + tokens + "/ranks:" + std::to_string(ring.ranks()), stopwatch.seconds(), memory);
    });
}
