// What processes have, gathered on their ring. In two source files, as main.cpp is.

#include <ring_attention/mpi.hpp>

namespace ra = ring_attention;

ra::Tensor<float, 3> gathered(MPI_Comm communicator, const ra::Tensor<float, 3>& tokens);

int main(int argc, char** argv) {
    return ra::mpi_main(argc, argv, [](MPI_Comm world) {
        ra::Tensor<float, 3> tokens(1, 8, 4);  // of this rank
        tokens.setConstant(1);
        const auto whole = gathered(world, tokens);
        return whole.size() == tokens.size() && whole(0, 7, 3) == 1 ? 0 : 1;
    });
}
