#pragma once

#include <algorithm>
#include <cstdint>
#include <span>

#include <ring_attention/core/random.hpp>
#include <ring_attention/kernels/rows.hpp>
#include <ring_attention/layers/layer.hpp>

namespace ring_attention {

/// Switches a forward pass to training: what is dropped is a function of seed, step, place, batch entry and
/// global position, so it is the same on every rank, and again in another run.
struct Dropout {
    std::uint64_t seed = 0;
    std::uint64_t step = 0;

    /// Fills keep with 1 (keep) or 0 (drop, with probability `rate`) for the features of one token.
    void keep(const DropoutPlace& place, Index batch, Index position, double rate,
              std::span<std::uint8_t> keep) const {
        const CounterRandom random(seed, RandomPurpose::dropout);
        const auto threshold = std::uint64_t(rate * 0x1p32);
        const std::uint64_t where = place.layer * 4 + std::uint64_t(place.site);
        for (std::size_t first = 0; first < keep.size(); first += 8) {
            const auto words = random.bits(
                std::uint64_t(position), std::uint64_t(batch) << 32 | std::uint64_t(first / 8), where, step);
            for (std::size_t i = 0; i < std::min<std::size_t>(8, keep.size() - first); ++i)
                keep[first + i] = words[i] >= threshold;
        }
    }
};

struct DropoutOptions {
    float rate = 0;
    DropoutSite site{};
};

/// Inverted dropout (Srivastava et al. 2014): y = x / (1 - rate) where kept, else 0. In inference y = x.
template <class T, Index Width, DropoutOptions options>
struct DropoutLayer {
    using Scalar = T;
    static constexpr Index in_width = Width, out_width = Width;
    static constexpr bool streams = true;

    static void visit(auto&&, auto&...) {}

    struct Cache {
        Seats<std::uint8_t> keep;  // [batch * tokens, Width] a seat; empty where nothing was dropped
    };

    Seats<T> forward(Seats<T> x, Cache* cache, const auto& pass) const {
        if (cache) cache->keep.clear();
        if (options.rate > 0 && pass.masks)
            for (std::size_t seat = 0; seat < x.size(); ++seat) {
                Matrix<std::uint8_t> kept = draw(pass, Index(seat));
                apply(kept, x[seat]);
                if (cache) cache->keep.push_back(std::move(kept));
            }
        return x;
    }

    Seats<T> backward(Seats<T> d, const Cache& cache, const SeatGradients<DropoutLayer>&, const auto&) const {
        for (std::size_t seat = 0; seat < cache.keep.size(); ++seat) apply(cache.keep[seat], d[seat]);
        return d;
    }

  private:
    static Matrix<std::uint8_t> draw(const auto& pass, Index seat) {
        const TokenRun tokens = pass.share.tokens(seat);
        Matrix<std::uint8_t> kept(pass.batch * tokens.count, Width);
        parallel_rows(kept.rows(), [&](Index row) {
            pass.masks.keep(DropoutPlace{pass.layer, options.site}, row / tokens.count,
                            tokens.position(row % tokens.count), double(options.rate),
                            std::span(kept.row(row).data(), std::size_t(Width)));
        });
        return kept;
    }

    static void apply(const Matrix<std::uint8_t>& kept, Matrix<T>& rows) {
        constexpr T divisor = T(1) - T(options.rate);
        parallel_rows(rows.rows(), [&](Index row) {
            for (Index j = 0; j < Width; ++j) rows(row, j) = kept(row, j) ? rows(row, j) / divisor : T(0);
        });
    }
};

}  // namespace ring_attention
