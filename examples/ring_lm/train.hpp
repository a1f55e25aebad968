#pragma once

#include <cstdint>
#include <filesystem>

#include <ring_attention/ring_attention.hpp>

#include "ranks.hpp"

namespace ring_lm {

struct TrainArguments {
    std::filesystem::path data, out;
    ring_attention::Index context = 256;
    ring_attention::Index batch = 8;
    std::int64_t steps = 1000;
    std::uint64_t seed = 0;
    double learning_rate = 4e-3;
    std::int64_t report_every = 50;
    ring_attention::Layout layout = ring_attention::Layout::contiguous;
    bool dropout = false;
    std::filesystem::path trace;  ///< none: empty
};

/// Trains on the file and writes weights.safetensors, loss.csv and, with gnuplot, loss.png to the folder
/// `out`. All ranks call it; the weights do not depend on their number, but on that of the replicas.
///
/// When a rank gets SIGINT, SIGTERM or SIGHUP, all end after the step under way and write the files too.
/// Returns the exit code: 0, or 128 + signal.
int train(const TrainArguments& arguments, const Ranks& ranks);

}  // namespace ring_lm
