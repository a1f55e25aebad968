#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <span>

#include <ring_attention/core/fingerprint.hpp>
#include <ring_attention/core/random.hpp>
#include <ring_attention/kernels/rows.hpp>
#include <ring_attention/layers/layer.hpp>

namespace ring_attention::inline RING_ATTENTION_ABI {

/// Switches a forward pass to training: what is dropped is a function of seed, step, place, batch entry and
/// global position, so it is the same on every rank, and again in another run.
struct Dropout {
    std::uint64_t seed = 0;
    std::uint64_t step = 0;

    static constexpr bool drawn_from_numbers = true;

    std::uint64_t key() const { return fingerprint(std::as_bytes(std::span(&seed, 1)), step + 1); }

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
    static constexpr bool streams = true, each_token_alone = true;
    static constexpr std::uint64_t draws =
        options.rate > 0 ? std::uint64_t(1) << std::uint64_t(options.site) : 0;

    static void visit(auto&&, auto&...) {}

    /// Backward draws again what a Dropout drew. Patterns of another kind are kept: they may be gone by then.
    struct Cache {
        KeepPatternReference drawn;  // none where nothing was dropped, or in `keep`
        DropoutPlace place;
        Matrix<std::uint8_t> keep;  // [tokens, Width]
    };

    /// Whether anything is dropped in this pass.
    static bool acts(const auto& pass) { return options.rate > 0 && pass.keep_patterns; }

    Matrix<T> forward(Matrix<T> x, Cache* cache, const auto& pass) const {
        if (cache) *cache = {};
        if (!acts(pass)) return x;
        const DropoutPlace place{pass.layer, options.site};
        if (!cache || pass.keep_patterns.is_drawn()) {
            if (cache) *cache = {pass.keep_patterns, place, {}};
            apply_drawn(pass.keep_patterns, place, pass, x);
            return x;
        }
        cache->keep.resize(x.rows(), Width);
        for_each_token(pass, [&](Index row, Index batch, Index position) {
            pass.keep_patterns.keep(place, batch, position, double(options.rate),
                                    std::span(cache->keep.row(row).data(), std::size_t(Width)));
        });
        apply(cache->keep, x);
        return x;
    }

    Matrix<T> backward(Matrix<T> d, const Cache& cache, const SeatGradients<DropoutLayer>&,
                       const auto& pass) const {
        if (cache.drawn)
            apply_drawn(cache.drawn, cache.place, pass, d);
        else if (cache.keep.rows() > 0)
            apply(cache.keep, d);
        return d;
    }

  private:
    static void apply(const std::uint8_t* keep, T* row) {
        constexpr T divisor = T(1) - T(options.rate);
        for (Index j = 0; j < Width; ++j) row[j] = keep[j] ? row[j] / divisor : T(0);
    }

    static void apply(const Matrix<std::uint8_t>& keep, Matrix<T>& rows) {
        detail::parallel_rows(rows.rows(), [&](Index i) { apply(keep.row(i).data(), rows.row(i).data()); });
    }

    static void apply_drawn(const KeepPatternReference& patterns, const DropoutPlace& place, const auto& pass,
                            Matrix<T>& rows) {
        for_each_token(pass, [&](Index row, Index batch, Index position) {
            std::array<std::uint8_t, std::size_t(Width)> keep;
            patterns.keep(place, batch, position, double(options.rate), keep);
            apply(keep.data(), rows.row(row).data());
        });
    }
};

}  // namespace ring_attention::inline RING_ATTENTION_ABI
