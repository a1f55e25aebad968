// What does one more token cost where the ranks share the keys and values, and what does a rank keep? mpirun
// -n RANKS bench_mpi_stream [TOKENS]: a block of width 512 with 8 heads, after so many tokens.

#include <algorithm>
#include <cstdio>
#include <string>
#include <vector>

#include <ring_attention/mpi.hpp>

#include "../inputs.hpp"
#include "../measure.hpp"

namespace ra = ring_attention;

namespace {

constexpr ra::Index width = 512, tokens_a_round = 8;
constexpr int num_rounds = 9;
using Block = ra::Block<float, ra::BlockOptions{.width = width, .heads = 8}>;
using Model = ra::Model<ra::Sequential<Block>, ra::Output::all>;

/// Of a token, the median over the rounds; on one seat it goes without partial attention.
void measure(ra::MpiRing& ring, ra::Index count, ra::Index seats) {
    Model model{.body = {}, .num_chunks = seats};
    ra::initialise(model, 1);
    ra::Stream stream{model, ring, {.capacity = count + num_rounds * tokens_a_round}};
    stream.prefill(bench::random<ra::Tensor<float, 3>>(1, model.share(ring, count).num_tokens(), width));
    const auto x_t = bench::random<ra::Tensor<float, 2>>(1, width);
    const auto sent = [&] { return double(ring.log().sent_on(ra::Channel::key_value).bytes); };
    const double sent_before = sent();
    std::vector<double> seconds;
    for (int round = 0; round < num_rounds; ++round) {
        const bench::Stopwatch stopwatch;
        for (ra::Index t = 0; t < tokens_a_round; ++t) stream.push(x_t);
        seconds.push_back(stopwatch.seconds() / tokens_a_round);
    }
    const double sent_a_token = (sent() - sent_before) / (num_rounds * tokens_a_round);
    double kept = double(stream.bytes());
    MPI_Allreduce(MPI_IN_PLACE, &kept, 1, MPI_DOUBLE, MPI_MAX, ring.communicator());
    if (ring.rank() == 0)
        std::printf("tokens:%ld/seats:%ld/ranks:%d  token=%.3fms fastest=%.3fms kept=%.1fMB sent=%.0fB\n",
                    long(count), long(seats), ring.ranks(), bench::median(seconds) * 1e3,
                    *std::min_element(seconds.begin(), seconds.end()) * 1e3, kept / (1 << 20), sent_a_token);
}

}  // namespace

int main(int argc, char** argv) {
    return ra::mpi_main(argc, argv, [&](MPI_Comm world) {
        ra::set_num_threads(1);
        const ra::Index count = argc > 1 ? std::stol(argv[1]) : 16384;
        ra::MpiRing ring(world);
        if (ring.ranks() == 1) measure(ring, count, 1);
        measure(ring, count, 4);
    });
}
