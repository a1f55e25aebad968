// The main function of the tests over MPI. All ranks run the same tests and come to one verdict; shown is
// what rank 0 says and what is said by ranks where a test fails.

#define DOCTEST_CONFIG_IMPLEMENT
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <sstream>

#include <doctest/doctest.h>
#include <mpi.h>

int main(int argc, char** argv) {
    const bool one_thread = std::getenv("RING_ATTENTION_TESTS_ONE_THREAD") != nullptr;
    int level = MPI_THREAD_SINGLE, rank = 0;
    MPI_Init_thread(&argc, &argv, one_thread ? MPI_THREAD_FUNNELED : MPI_THREAD_MULTIPLE, &level);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);

    std::ostringstream said;
    doctest::Context context(argc, argv);
    context.setCout(&said);
    int verdict = context.run();
    if (rank == 0 || verdict != 0) std::cout << "---- rank " << rank << "\n" << said.str() << std::flush;

    MPI_Allreduce(MPI_IN_PLACE, &verdict, 1, MPI_INT, MPI_MAX, MPI_COMM_WORLD);
    MPI_Finalize();
    return verdict;
}
