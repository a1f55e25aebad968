// A rank that fails, for faults.sh: faults WAY RANK, where WAY is what happens on that rank (or "all") while
// the others go on around the ring:
//
//     throw   it throws
//     sleep   it goes round the ring as the others do, for a minute; it is for the shell to kill or stop it
//     none    nothing: after some hops all end well
//
// Each rank prints "rank 2 is process 4711" when it has begun.

#include <chrono>
#include <cstdio>
#include <string>
#include <thread>
#include <unistd.h>
#include <vector>

#include <ring_attention/ring/mpi/mpi_main.hpp>
#include <ring_attention/ring/mpi/mpi_ring.hpp>

#include "support/hops.hpp"

namespace ra = ring_attention;

namespace {

void go_round(ra::MpiRing& ring, int hops) {
    std::vector<std::byte> sent(std::size_t(1) << 20), received(sent.size());
    for (int hop = 0; hop < hops; ++hop) {
        auto exchange = support::start_round(ring, ra::Channel::key_value, sent, received);
        std::this_thread::sleep_for(std::chrono::milliseconds(10));
        exchange.finish();
    }
}

}  // namespace

int main(int argc, char** argv) {
    return ra::mpi_main(argc, argv, [&](MPI_Comm world) {
        const std::string way = argv[1], who = argv[2];
        ra::MpiRing ring(world);
        std::printf("rank %d is process %d\n", ring.rank(), int(getpid()));
        std::fflush(stdout);
        go_round(ring, 5);
        if (way == "none") return;
        if (way == "throw" && (who == "all" || who == std::to_string(ring.rank())))
            throw ra::RingError("a pipe\nhas burst");
        go_round(ring, 6000);
    });
}
