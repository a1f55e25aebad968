#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <fmt/os.h>

#include <ring_attention/core/error.hpp>

#include "gnuplot.hpp"

namespace ring_lm {

struct LossPoint {
    std::int64_t step;
    double train;     ///< bits per byte, mean since the point before
    double held_out;  ///< bits per byte
    double learning_rate;
};

/// Writes all points as a table. Throws ra::FileError where it cannot.
inline void write_csv(const std::vector<LossPoint>& points, const std::filesystem::path& path) try {
    auto file = fmt::output_file(path.c_str());
    file.print("step,train_bits_per_byte,held_out_bits_per_byte,learning_rate\n");
    for (const LossPoint& p : points)
        file.print("{},{:.4f},{:.4f},{:.6g}\n", p.step, p.train, p.held_out, p.learning_rate);
} catch (const std::system_error& error) {
    throw ring_attention::FileError("cannot write " + path.string() + ": " + error.what());
}

/// Draws the curve by gnuplot where there is one; returns whether it did.
inline bool draw_png(const std::filesystem::path& csv, const std::filesystem::path& png) {
    return gnuplot([&](std::FILE* pipe) {
        fmt::print(pipe,
                   "set terminal pngcairo size 900,540\nset output {}\nset datafile separator ','\n"
                   "set xlabel 'step'\nset ylabel 'bits per byte'\nset grid\n"
                   "plot {} using 1:2 skip 1 with linespoints lw 2 pt 7 ps 0.4 title 'training', "
                   "'' using 1:3 skip 1 with linespoints lw 2 pt 7 ps 0.4 title 'held out'\n",
                   gnuplot_text(png), gnuplot_text(csv));
    });
}

}  // namespace ring_lm
