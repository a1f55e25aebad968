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
class PositionLosses {
  public:
    explicit PositionLosses(ra::Index context) : at_(std::size_t(context)) {}

    /// losses: [batch, tokens], the tokens at these positions.
    void add(const ra::Tensor<double, 2>& losses, const ra::List<ra::Index>& positions) {
        for (ra::Index b = 0; b < losses.dimension(0); ++b)
            for (std::size_t i = 0; i < positions.size(); ++i) {
                At& at = at_[std::size_t(positions[i])];
                at.sum.add(losses(b, ra::Index(i)));
                ++at.count;
            }
    }

    /// Adds up what the ranks have, on all of them.
    void add_over_ranks(ra::RingReference ring) {
        const std::vector<At> own = at_;
        ra::sum_numbers_in_rank_order(ring, std::span(at_), [&](std::span<At> part, ra::Index first) {
            if (ring.rank() == 0) return;
            for (std::size_t i = 0; i < part.size(); ++i) {
                part[i].sum.add(own[std::size_t(first) + i].sum);
                part[i].count += own[std::size_t(first) + i].count;
            }
        });
    }

    double bits_per_byte() const { return bits_per_byte(0, at_.size()); }

    /// Over positions first ... end - 1.
    double bits_per_byte(std::size_t first, std::size_t end) const {
        At total;
        for (std::size_t t = first; t < end; ++t) {
            total.sum.add(at_[t].sum);
            total.count += at_[t].count;
        }
        return bits(total.sum.value()) / double(std::max<ra::Index>(1, total.count));
    }

    bool any_at(std::size_t position) const { return at_[position].count > 0; }

  private:
    struct alignas(16) At {  // a sum_in_rank_order does not cut it
        ra::ExactSum sum;
        ra::Index count = 0;
    };
    std::vector<At> at_;
};

/// Predicts the text in windows of `context` bytes, one after the other, with at most `max_windows` of them,
/// evenly spread. done(windows so far, windows in all) is called after each batch. On several ranks all call
/// it, and get the same.
template <class Done>
PositionLosses evaluate(const Model& model, const Text& text, ra::Index context, std::size_t max_windows,
                        ra::RingReference ring, Done&& done) {
    constexpr std::size_t batch_size = 8;
    const auto length = std::size_t(context);
    const std::size_t whole = (text.size() - 1) / length, windows = std::min(whole, max_windows);
    PositionLosses losses(context);
    const auto add_windows = [&](const std::vector<std::size_t>& starts, ra::Index tokens) {
        const auto positions = model.share(ring, tokens).positions();
        const Batch batch = windows_at(text, starts, positions);
        losses.add(ra::cross_entropy(model(batch.tokens, ring), batch.targets, ring).losses, positions);
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
    losses.add_over_ranks(ring);
    return losses;
}

}  // namespace ring_lm
