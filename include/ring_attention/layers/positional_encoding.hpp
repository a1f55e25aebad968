#pragma once

#include <array>
#include <cmath>

#include <ring_attention/kernels/elementwise.hpp>
#include <ring_attention/kernels/rows.hpp>
#include <ring_attention/layers/layer.hpp>

namespace ring_attention::inline RING_ATTENTION_ABI {

/// Adds to each token sin(p f) and cos(p f) of its position p in its document, for frequencies f =
/// 10000^(-2i/Width), i = 0 ... (Vaswani et al. 2017, 1706.03762, section 3.5): no parameters, and no bound
/// on the length.
template <class T, Index Width>
struct PositionalEncoding {
    using Scalar = T;
    static constexpr Index in_width = Width, out_width = Width;
    static constexpr bool streams = true;

    static void visit(auto&&, auto&...) {}

    struct Cache {};

    Matrix<T> forward(Matrix<T> x, Cache*, const auto& pass) const {
        for (Index seat = 0; seat < pass.share.num_seats(); ++seat) {
            const TokenPositions tokens = pass.share.tokens(seat);
            const IndexRange rows = rows_of_seat(pass.share, pass.batch, seat);
            detail::parallel_rows(tokens.count, [&](Index token) {
                const Index position = tokens.position(token);
                const std::array<T, std::size_t(Width)> encoding =
                    encoding_of(position - pass.document_start(position));
                for (Index b = 0; b < pass.batch; ++b)
                    detail::add(encoding.data(), &x(rows.first + b * tokens.count + token, 0), Width);
            });
        }
        return x;
    }

    Matrix<T> backward(Matrix<T> d, const Cache&, const SeatGradients<PositionalEncoding>&,
                       const auto&) const {
        return d;
    }

  private:
    static std::array<T, std::size_t(Width)> encoding_of(Index position) {
        std::array<T, std::size_t(Width)> encoding;
        for (std::size_t i = 0; i < encoding.size(); i += 2) {
            const double angle = double(position) * frequencies()[i / 2];
            encoding[i] = T(std::sin(angle));
            if (i + 1 < encoding.size()) encoding[i + 1] = T(std::cos(angle));
        }
        return encoding;
    }

    using Frequencies = std::array<double, std::size_t((Width + 1) / 2)>;

    static const Frequencies& frequencies() {
        static const Frequencies made = [] {
            Frequencies f;
            for (std::size_t i = 0; i < f.size(); ++i)
                f[i] = std::pow(10000.0, -double(2 * i) / double(Width));
            return f;
        }();
        return made;
    }
};

}  // namespace ring_attention::inline RING_ATTENTION_ABI
