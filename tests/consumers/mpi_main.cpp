// Attention on a ring of processes. In two source files, as main.cpp is.

#include <ring_attention/mpi.hpp>

namespace ra = ring_attention;

ra::Tensor<float, 4> attend(MPI_Comm communicator, const ra::Tensor<float, 4>& tokens);

int main(int argc, char** argv) {
    return ra::mpi_main(argc, argv, [](MPI_Comm world) {
        ra::Tensor<float, 4> tokens(1, 2, 8, 4);  // of this rank
        tokens.setConstant(1);
        const auto output = attend(world, tokens);
        return output.size() == tokens.size() && output(0, 1, 7, 3) == 1 ? 0 : 1;
    });
}
