#pragma once

#include <algorithm>
#include <numbers>
#include <vector>

#include "model.hpp"
#include "text.hpp"

namespace ring_lm {

inline double bits(double nats) {
    return nats / std::numbers::ln2;
}

/// Sum of the losses in nats, and their number, by position in the window.
struct PositionLosses {
    std::vector<double> sum;
    std::vector<ra::Index> count;

    explicit PositionLosses(ra::Index context) : sum(std::size_t(context)), count(std::size_t(context)) {}

    void add(const ra::Tensor<double, 2>& losses) {
        for (ra::Index b = 0; b < losses.dimension(0); ++b)
            for (ra::Index t = 0; t < losses.dimension(1); ++t) {
                sum[std::size_t(t)] += losses(b, t);
                ++count[std::size_t(t)];
            }
    }

    double bits_per_byte() const { return bits_per_byte(0, sum.size()); }

    /// Over positions first ... end - 1.
    double bits_per_byte(std::size_t first, std::size_t end) const {
        double total = 0;
        ra::Index number = 0;
        for (std::size_t t = first; t < end; ++t) {
            total += sum[t];
            number += count[t];
        }
        return bits(total) / double(std::max<ra::Index>(1, number));
    }
};

/// Predicts the text in windows of `context` bytes, one after the other, with at most `max_windows` of them,
/// evenly spread. done(windows so far, windows in all) is called after each batch.
template <class Done>
PositionLosses evaluate(const Model& model, Text text, ra::Index context, std::size_t max_windows,
                        Done&& done) {
    constexpr std::size_t batch_size = 8;
    const auto length = std::size_t(context);
    const std::size_t whole = (text.size() - 1) / length, windows = std::min(whole, max_windows);
    PositionLosses losses(context);
    const auto add_windows = [&](const std::vector<std::size_t>& starts, ra::Index tokens) {
        const Batch batch = windows_at(text, starts, tokens);
        losses.add(ra::cross_entropy(model(batch.tokens), batch.targets).losses);
    };
    for (std::size_t first = 0; first < windows; first += batch_size) {
        std::vector<std::size_t> starts;
        for (std::size_t i = first; i < std::min(windows, first + batch_size); ++i)
            starts.push_back(i * whole / windows * length);
        add_windows(starts, context);
        done(first + starts.size(), windows);
    }
    const std::size_t rest = (text.size() - 1) % length;
    if (windows == whole && rest > 0) add_windows({whole * length}, ra::Index(rest));
    return losses;
}

}  // namespace ring_lm
