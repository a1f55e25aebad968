#pragma once

#include <cmath>

#include <ring_attention/kernels/rows.hpp>
#include <ring_attention/layers/layer.hpp>

namespace ring_attention {

/// Adds to each token sin(p f) and cos(p f) of its global position p, for frequencies f = 10000^(-2i/Width),
/// i = 0 ... (Vaswani et al. 2017, 1706.03762, section 3.5): no parameters, and no bound on the length.
template <class T, Index Width>
struct PositionalEncoding {
    using Scalar = T;
    static constexpr Index in_width = Width, out_width = Width;
    static constexpr bool streams = true;

    static void visit(auto&&, auto&...) {}

    struct Cache {};

    Seats<T> forward(Seats<T> x, Cache*, const auto& pass) const {
        for (Index seat = 0; seat < pass.share.num_seats(); ++seat) {
            const TokenRun tokens = pass.share.tokens(seat);
            Matrix<T>& rows = x[std::size_t(seat)];
            parallel_rows(tokens.count, [&](Index token) {
                const RowVector<T> waves = encoding(tokens.position(token));
                for (Index batch = 0; batch < pass.batch; ++batch)
                    rows.row(batch * tokens.count + token) += waves;
            });
        }
        return x;
    }

    Seats<T> backward(Seats<T> d, const Cache&, const SeatGradients<PositionalEncoding>&, const auto&) const {
        return d;
    }

    static RowVector<T> encoding(Index position) {
        RowVector<T> waves(Width);
        for (Index i = 0; i < Width; ++i) {
            const double angle = double(position) * std::pow(10000.0, -double(i / 2 * 2) / double(Width));
            waves[i] = T(i % 2 == 0 ? std::sin(angle) : std::cos(angle));
        }
        return waves;
    }
};

}  // namespace ring_attention
