#pragma once

#include <algorithm>
#include <filesystem>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "gnuplot.hpp"

namespace ring_lm {

/// Something that a rank does from begin to end.
struct Bar {
    int rank;
    std::string kind;   ///< compute, send, wait, or phase: a time in which it does several of these
    std::string label;  ///< written into it
    double begin, end;
};

struct Gantt {
    std::string title, unit;
    std::vector<Bar> bars;
};

/// Draws a row a rank by gnuplot, where there is one; returns whether it did. What is sent lies in a band below what
/// is computed, so that one sees both at one time.
inline bool draw(const Gantt& gantt, const std::filesystem::path& path) {
    return gnuplot([&](std::FILE* pipe) {
        int ranks = 1;
        for (const Bar& bar : gantt.bars) ranks = std::max(ranks, bar.rank + 1);
        const bool vector_graphics = path.extension() == ".svg";
        fmt::print(pipe, "set terminal {} size {},{}\nset output {}\n", vector_graphics ? "svg" : "pngcairo", 1000,
                   120 + 55 * ranks, gnuplot_text(path));
        fmt::print(pipe,
                   "set title {}\nset xlabel {}\nset yrange [{}:-0.6]\nset ytics ({}) nomirror\nset border 3\n"
                   "set key outside top right horizontal\nset style fill solid 0.9 noborder\nset xrange [0:]\n",
                   gnuplot_text(gantt.title), gnuplot_text(gantt.unit), double(ranks) - 0.4, [&] {
                       std::string rows;
                       for (int rank = 0; rank < ranks; ++rank)
                           rows += fmt::format("{}'rank {}' {}", rank ? ", " : "", rank, rank);
                       return rows;
                   }());
        for (const char* kind : {"phase", "compute", "wait", "send"}) {
            fmt::print(pipe, "${} << EOD\n", kind);
            for (const Bar& bar : gantt.bars)
                if (bar.kind == kind) {
                    const bool sends = bar.kind == "send";
                    fmt::print(pipe, "{} {} {} {} {} {}\n", (bar.begin + bar.end) / 2, bar.rank, bar.begin, bar.end,
                               bar.rank + (sends ? 0.24 : -0.36), bar.rank + (sends ? 0.36 : 0.2));
                }
            fmt::print(pipe, "NaN NaN NaN NaN NaN NaN\nEOD\n");
        }
        for (const Bar& bar : gantt.bars)
            if (!bar.label.empty())
                fmt::print(pipe, "set label {} at {},{} center font ',9' textcolor rgb 'white'\n", gnuplot_text(bar.label),
                           (bar.begin + bar.end) / 2, bar.rank - 0.08);
        fmt::print(pipe,
                   "plot $phase with boxxyerror lc rgb '#d5dfeb' title 'other layers', "
                   "$compute with boxxyerror lc rgb '#2b6cb0' title 'attention', "
                   "$wait with boxxyerror lc rgb '#e2a03f' title 'wait', "
                   "$send with boxxyerror lc rgb '#6b9e5b' title 'send'\n");
    });
}

}  // namespace ring_lm
