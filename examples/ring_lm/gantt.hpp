#pragma once

#include <algorithm>
#include <filesystem>
#include <string>
#include <tuple>
#include <vector>

#include <fmt/format.h>

#include "gnuplot.hpp"

namespace ring_lm {

/// Something that is done from begin to end.
struct Bar {
    int row;
    std::string kind;   ///< compute, send, wait, or phase: a time in which several of these are done
    std::string label;  ///< written into it
    double begin, end;
};

struct Gantt {
    std::string title, unit;
    std::vector<std::string> rows;
    std::vector<Bar> bars;
};

namespace detail {

/// What is sent lies in a band below what is computed, so that one sees both at one time. Returns whether
/// there are any.
inline bool write_bars(std::FILE* pipe, const Gantt& gantt, const std::string& kind) {
    const auto is_of_kind = [&](const Bar& bar) { return bar.kind == kind; };
    if (std::none_of(gantt.bars.begin(), gantt.bars.end(), is_of_kind)) return false;
    const bool below = kind == "send";
    fmt::print(pipe, "${} << EOD\n", kind);
    for (const Bar& bar : gantt.bars)
        if (is_of_kind(bar))
            fmt::print(pipe, "{} {} {} {} {} {}\n", (bar.begin + bar.end) / 2, bar.row, bar.begin, bar.end,
                       bar.row + (below ? 0.24 : -0.36), bar.row + (below ? 0.36 : 0.2));
    fmt::print(pipe, "EOD\n");
    return true;
}

inline std::string row_names(const Gantt& gantt) {
    std::string names;
    for (std::size_t row = 0; row < gantt.rows.size(); ++row)
        names += fmt::format("{}{} {}", row ? ", " : "", gnuplot_text(gantt.rows[row]), row);
    return names;
}

}  // namespace detail

/// Draws a PNG, or SVG, by gnuplot, where there is one; returns whether it did. Throws ra::FileError where
/// the file cannot be written.
inline bool draw(const Gantt& gantt, const std::filesystem::path& path) {
    return gnuplot(path, [&](std::FILE* pipe) {
        fmt::print(pipe, "set terminal {} noenhanced size 1000,{}\nset output {}\n",
                   path.extension() == ".svg" ? "svg background rgb 'white'" : "pngcairo",
                   120 + 45 * gantt.rows.size(), gnuplot_text(path));
        fmt::print(
            pipe,
            "set title {}\nset xlabel {}\nset yrange [{}:-0.6]\nset xrange [0:]\nset ytics ({}) nomirror\n"
            "set border 3\nset key outside top right horizontal\nset style fill solid 0.9 noborder\n",
            gnuplot_text(gantt.title), gnuplot_text(gantt.unit), double(gantt.rows.size()) - 0.4,
            detail::row_names(gantt));
        for (const Bar& bar : gantt.bars)
            if (!bar.label.empty())
                fmt::print(pipe, "set label {} at {},{} center front font ',10' textcolor rgb 'white'\n",
                           gnuplot_text(bar.label), (bar.begin + bar.end) / 2, bar.row - 0.08);
        std::string plot;
        for (const auto& [kind, title, colour] :
             {std::tuple{"phase", "other layers", "#d5dfeb"}, std::tuple{"compute", "attention", "#2b6cb0"},
              std::tuple{"wait", "wait", "#e2a03f"}, std::tuple{"send", "send", "#6b9e5b"}}) {
            if (!detail::write_bars(pipe, gantt, kind)) continue;
            plot += fmt::format("{}${} with boxxyerror lc rgb '{}' title '{}'", plot.empty() ? "plot " : ", ",
                                kind, colour, title);
        }
        fmt::print(pipe, "{}\n", plot);
    });
}

}  // namespace ring_lm
