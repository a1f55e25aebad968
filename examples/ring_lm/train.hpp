#pragma once

#include <cstdint>
#include <filesystem>

#include <ring_attention/ring_attention.hpp>

namespace ring_lm {

struct TrainArguments {
    std::filesystem::path data, out;
    ring_attention::Index context = 256;
    ring_attention::Index batch = 8;
    std::int64_t steps = 1000;
    std::uint64_t seed = 0;
    double learning_rate = 4e-3;
    std::int64_t report_every = 50;
};

/// Trains on the file and writes weights.safetensors, loss.csv and, with gnuplot, loss.png to the folder
/// `out`.
void train(const TrainArguments& arguments);

}  // namespace ring_lm
