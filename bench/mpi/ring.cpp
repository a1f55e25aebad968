// What do ranks bring that are processes? Beside one process, in turn, round by round: mpirun -n RANKS
// bench_mpi_ring, of which rank 0 is the one process while the others sleep. All have one thread.

#include <array>
#include <cstdio>
#include <optional>
#include <string>

#include <ring_attention/mpi.hpp>

#include "../measure.hpp"
#include "work.hpp"

namespace ra = ring_attention;

namespace {

using ra::Overlap;

constexpr int rounds = 5;
constexpr std::array overlaps{Overlap::thread, Overlap::polling, Overlap::none};
constexpr std::array overlap_names{"thread", "polling", "none"};

/// The processes, and a ring of all of them for each overlap. Rank 0 has the clock.
class Ranks {
  public:
    explicit Ranks(MPI_Comm world)
        : ring_with{ra::MpiRing(world, {.overlap = overlaps[0]}),
                    ra::MpiRing(world, {.overlap = overlaps[1]}),
                    ra::MpiRing(world, {.overlap = overlaps[2]})} {}

    std::array<ra::MpiRing, overlaps.size()> ring_with;

    int count() { return signals().ranks(); }
    bool is_first() { return signals().rank() == 0; }

    /// What work() takes, from the word of rank 0 until the last rank is done.
    double seconds(const auto& work) {
        signal(false);
        const bench::Stopwatch stopwatch;
        work();
        signal(true);
        return stopwatch.seconds();
    }

  private:
    ra::MpiRing& signals() { return ring_with.back(); }

    void signal(bool to_first) {
        std::byte nothing{};
        const auto pass_on = [&](int peer, bool sends) {
            if (sends)
                signals().send(peer, ra::Channel::collective, {&nothing, 1});
            else
                signals().receive(peer, ra::Channel::collective, {&nothing, 1});
        };
        if (!is_first()) return pass_on(0, to_first);
        for (int peer = 1; peer < count(); ++peer) pass_on(peer, !to_first);
    }
};

void print_heading() {
    const std::string line(88, '-');
    std::printf("%s\n%-50s %12s  %s\n%s\n", line.c_str(), "Benchmark", "Time", "UserCounters...",
                line.c_str());
}

void print_line(const std::string& name, double seconds) {
    std::printf("%-50s %9.1f ms", name.c_str(), seconds * 1e3);
}

/// Of one process with a sequence of `alone` tokens, and of all ranks with one of `together`: the median
/// times, and by the medians over the rounds how many times the flops per second of the one process the ranks
/// reach (speedup), and a rank of them (efficiency).
template <class Work>
void measure(Ranks& ranks, const std::string& name, ra::Index alone, ra::Index together) {
    ra::LocalRing local;
    std::optional<Work> of_one;
    if (ranks.is_first()) of_one.emplace(local, alone);
    Work of_all(ranks.ring_with[0], together);

    std::vector<double> of_one_seconds;
    std::array<std::vector<double>, overlaps.size()> seconds, speedups;
    for (int round = -1; round < rounds; ++round) {  // the first one is to warm up
        double of_this_round = 0;
        if (ranks.is_first()) {
            const bench::Stopwatch stopwatch;
            of_one->run(local);
            of_this_round = stopwatch.seconds();
            if (round >= 0) of_one_seconds.push_back(of_this_round);
        }
        for (std::size_t i = 0; i < overlaps.size(); ++i) {
            const double of_all_seconds = ranks.seconds([&] { of_all.run(ranks.ring_with[i]); });
            if (round < 0) continue;
            seconds[i].push_back(of_all_seconds);
            speedups[i].push_back(Work::flops(together) / of_all_seconds * of_this_round /
                                  Work::flops(alone));
        }
    }
    if (!ranks.is_first()) return;
    print_line(name + "/one_process", bench::median(of_one_seconds));
    std::puts("");
    for (std::size_t i = 0; i < overlaps.size(); ++i) {
        const double speedup = bench::median(speedups[i]);
        print_line(name + "/ranks:" + std::to_string(ranks.count()) + "/" + overlap_names[i],
                   bench::median(seconds[i]));
        std::printf("  efficiency=%.3f speedup=%.3f\n", speedup / ranks.count(), speedup);
    }
    std::fflush(stdout);
}

/// The ranks share a sequence of 4096 tokens.
template <class Work>
void strong_scaling(Ranks& ranks, const std::string& name) {
    measure<Work>(ranks, "strong_scaling/" + name, 4096, 4096);
}

/// Every rank brings 2048 tokens.
template <class Work>
void weak_scaling(Ranks& ranks, const std::string& name) {
    measure<Work>(ranks, "weak_scaling/" + name, 2048, 2048 * ranks.count());
}

}  // namespace

int main(int argc, char** argv) {
    return ra::mpi_main(argc, argv, [](MPI_Comm world) {
        ra::set_num_threads(1);
        Ranks ranks(world);
        if (ranks.is_first()) print_heading();
        strong_scaling<bench::FusedMultiplyAdds>(ranks, "fused_multiply_adds");
        strong_scaling<bench::AttentionForward>(ranks, "attention_forward");
        strong_scaling<bench::AttentionBackward>(ranks, "attention_backward");
        strong_scaling<bench::TrainingStep>(ranks, "training_step");
        weak_scaling<bench::AttentionForward>(ranks, "attention_forward");
        weak_scaling<bench::AttentionBackward>(ranks, "attention_backward");
        weak_scaling<bench::TrainingStep>(ranks, "training_step");
    });
}
