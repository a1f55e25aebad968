#include <algorithm>
#include <cmath>
#include <set>
#include <vector>

#include <doctest/doctest.h>

#include <ring_attention/layers/dropout.hpp>

#include "support/layer_case.hpp"

namespace layers_dropout {

namespace {

namespace ra = ring_attention;

using Mask = std::vector<std::uint8_t>;

Mask drawn(const ra::Dropout& dropout, const ra::DropoutPlace& place, ra::Index batch, ra::Index position,
           double rate = 0.5, std::size_t width = 256) {
    Mask mask(width, 7);
    dropout.keep(place, batch, position, rate, mask);
    return mask;
}

constexpr ra::DropoutPlace place{.layer = 1, .site = ra::DropoutSite::attention};

template <ra::DropoutSite site>
using Quarter = ra::DropoutLayer<double, 4, ra::DropoutOptions{0.25f, site}>;

}  // namespace

TEST_CASE("dropout: finite differences through its mask") {
    support::check_layer<Quarter<ra::DropoutSite::attention>>({.batch = 2, .seq_len = 5, .num_seats = 3},
                                                              ra::Dropout{.seed = 1});
    support::check_layer<Quarter<ra::DropoutSite::attention>>({.batch = 2, .seq_len = 5, .num_seats = 3});
}

TEST_CASE("dropout: the same key draws the same mask, any other another") {
    std::set<Mask> masks;
    const ra::Dropout dropout{.seed = 1, .step = 2};
    const Mask mask = drawn(dropout, place, 3, 4);
    CHECK(drawn(dropout, place, 3, 4) == mask);
    masks.insert(mask);
    masks.insert(drawn({.seed = 2, .step = 2}, place, 3, 4));
    masks.insert(drawn({.seed = 1, .step = 3}, place, 3, 4));
    masks.insert(drawn({.seed = 2, .step = 1}, place, 3, 4));
    masks.insert(drawn(dropout, {2, ra::DropoutSite::attention}, 3, 4));
    masks.insert(drawn(dropout, {1, ra::DropoutSite::feed_forward}, 3, 4));
    masks.insert(drawn(dropout, {1, ra::DropoutSite::between_blocks}, 3, 4));
    masks.insert(drawn(dropout, place, 4, 4));
    masks.insert(drawn(dropout, place, 3, 5));
    masks.insert(drawn(dropout, place, 4, 3));
    CHECK(masks.size() == 10);
}

TEST_CASE("dropout: no two tokens of a long sequence, nor layers or steps share a mask") {
    std::set<Mask> masks;
    for (std::uint64_t layer = 1; layer <= 4; ++layer)
        for (std::uint64_t site = 0; site < 3; ++site)
            for (std::uint64_t step = 0; step < 4; ++step)
                for (const ra::Index position : {0, 1, 2, 65535, 65536, 1 << 20})
                    for (ra::Index batch = 0; batch < 4; ++batch)
                        masks.insert(drawn({.seed = 1, .step = step},
                                           {layer, static_cast<ra::DropoutSite>(site)}, batch, position));
    CHECK(masks.size() == 4 * 3 * 4 * 6 * 4);
}

TEST_CASE("dropout: only 0 and 1 are written, to all of any width") {
    for (std::size_t width = 1; width <= 33; ++width) {
        const Mask mask = drawn({.seed = 1}, place, 0, 0, 0.5, width);
        CHECK(std::all_of(mask.begin(), mask.end(), [](std::uint8_t keep) { return keep <= 1; }));
    }
}

TEST_CASE("dropout: the fraction that is kept is 1 - rate") {
    for (const double rate : {0.0, 0.1, 0.25, 0.5, 0.9, 0.999}) {
        CAPTURE(rate);
        const int tokens = 2000, width = 100;
        double kept = 0;
        std::vector<double> by_feature(width);
        for (int position = 0; position < tokens; ++position) {
            const Mask mask = drawn({.seed = 9}, place, 0, position, rate, std::size_t(width));
            for (std::size_t i = 0; i < mask.size(); ++i) {
                kept += mask[i];
                by_feature[i] += mask[i];
            }
        }
        const auto deviation = [&](double draws) { return std::sqrt(rate * (1 - rate) / draws); };
        CHECK(std::abs(kept / tokens / width - (1 - rate)) <= 5 * deviation(tokens * width));
        for (const double feature : by_feature)
            CHECK(std::abs(feature / tokens - (1 - rate)) <= 5 * deviation(tokens) + 1e-12);
    }
}

TEST_CASE("dropout: neighbouring tokens are dropped independently") {
    const int tokens = 4000, width = 64;
    double both = 0;
    Mask before = drawn({.seed = 9}, place, 0, 0, 0.5, width);
    for (int position = 1; position <= tokens; ++position) {
        const Mask mask = drawn({.seed = 9}, place, 0, position, 0.5, width);
        for (std::size_t i = 0; i < mask.size(); ++i) both += mask[i] * before[i];
        before = mask;
    }
    CHECK(std::abs(both / tokens / width - 0.25) < 5 * std::sqrt(0.25 * 0.75 / tokens / width));
}

TEST_CASE("dropout: what is kept is divided by 1 - rate, what is not is 0 even if it is NaN") {
    struct Masks {
        void keep(const ra::DropoutPlace&, ra::Index batch, ra::Index position, double rate,
                  std::span<std::uint8_t> keep) const {
            CHECK(rate == 0.25);
            for (std::size_t i = 0; i < keep.size(); ++i) keep[i] = (std::size_t(batch + position) + i) % 2;
        }
    };
    ra::LocalRing ring;
    const ra::Share share(ra::ChunkLayout(3, 2), 0, 1);
    const Masks masks;
    const ra::Pass pass{ring, share, 2, ra::KeepPatternReference(masks)};
    ra::Matrix<double> x = ra::Matrix<double>::Constant(6, 4, 3.0);  // seat 0: 2 x 2 tokens, seat 1: 2 x 1
    x(0, 0) = std::nan("");                                          // batch 0, position 0: dropped
    const auto y = Quarter<ra::DropoutSite::attention>{}.forward(x, nullptr, pass);
    for (ra::Index batch = 0; batch < 2; ++batch)
        for (ra::Index position = 0; position < 3; ++position)
            for (ra::Index i = 0; i < 4; ++i) {
                const double value = y(position < 2 ? batch * 2 + position : 4 + batch, i);
                CHECK(value == ((batch + position + i) % 2 == 1 ? 4.0 : 0.0));
            }
}

namespace {

/// The patterns of a Dropout, of another type.
struct Own : ra::Dropout {
    static constexpr bool drawn_from_numbers = false;
};

}  // namespace

TEST_CASE("dropout: backward draws a Dropout's patterns again, and needs no matrix for that") {
    using Layer = Quarter<ra::DropoutSite::attention>;
    ra::LocalRing ring;
    const ra::Share share(ra::ChunkLayout(7, 3), 0, 1);
    const auto d = support::normal_matrix(14, 4, 1);
    Layer::Cache drawn, kept;
    const Layer layer;
    Layer gradient;
    {
        const ra::Dropout dropout{.seed = 3, .step = 5};
        const Own own{dropout};
        layer.forward(d, &drawn, ra::Pass{ring, share, 2, dropout, 6});
        layer.forward(d, &kept, ra::Pass{ring, share, 2, own, 6});
    }  // neither is there any more
    CHECK(drawn.keep.size() == 0);
    CHECK(kept.keep.size() == 14 * 4);
    const ra::Pass pass{ring, share, 2, {}, 1};  // the layer's place is in the cache, too
    const auto again = layer.backward(d, drawn, ra::SeatGradients<Layer>(gradient, 14), pass);
    CHECK(compare::same_bits(again, layer.backward(d, kept, ra::SeatGradients<Layer>(gradient, 14), pass)));
    CHECK_FALSE(compare::same_bits(again, d));
}

}  // namespace layers_dropout
