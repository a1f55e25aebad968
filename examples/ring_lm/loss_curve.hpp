#pragma once

#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include <fmt/format.h>

#include <ring_attention/io/atomic_file.hpp>

#include "gnuplot.hpp"

namespace ring_lm {

struct LossPoint {
    std::int64_t step;
    double train;     ///< bits per byte, mean since the point before
    double held_out;  ///< bits per byte
    double learning_rate;
};

/// Writes all points as a table. Throws ra::FileError where it cannot.
inline void write_csv(const std::vector<LossPoint>& points, const std::filesystem::path& path) {
    std::string table = "step,train_bits_per_byte,held_out_bits_per_byte,learning_rate\n";
    for (const LossPoint& p : points)
        table += fmt::format("{},{:.4f},{:.4f},{:.6g}\n", p.step, p.train, p.held_out, p.learning_rate);
    ring_attention::write_file(path, std::as_bytes(std::span(table)));
}

/// Draws the curve by gnuplot where there is one; returns whether it did. Throws ra::FileError where the file
/// cannot be written.
inline bool draw_png(const std::filesystem::path& csv, const std::filesystem::path& png) {
    return gnuplot(png, [&](std::FILE* pipe) {
        fmt::print(pipe,
                   "set terminal pngcairo size 900,540\nset output {}\nset datafile separator ','\n"
                   "set xlabel 'step'\nset ylabel 'bits per byte'\nset grid\n"
                   "plot {} using 1:2 skip 1 with linespoints lw 2 pt 7 ps 0.4 title 'training', "
                   "'' using 1:3 skip 1 with linespoints lw 2 pt 7 ps 0.4 title 'held out'\n",
                   gnuplot_text(png), gnuplot_text(csv));
    });
}

}  // namespace ring_lm
