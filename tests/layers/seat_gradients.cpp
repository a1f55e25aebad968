// What each seat adds to a gradient, in one process and on the ranks of a ring.

#include <array>
#include <atomic>
#include <cmath>
#include <vector>

#include <doctest/doctest.h>

#include <ring_attention/layers/dense.hpp>
#include <ring_attention/layers/layer_norm.hpp>
#include <ring_attention/ring/thread/thread_ring.hpp>

#include "support/compare.hpp"
#include "support/error_message.hpp"

namespace layers_seat_gradients {

namespace ra = ring_attention;
using ra::Index;

namespace {

using Dense = ra::Dense<double, 2, 3>;

/// A layer with parts, for gradients of them.
struct Two {
    Dense dense;
    std::array<ra::LayerNorm<double, 3>, 2> norms;
};

}  // namespace

TEST_CASE("seat gradients: seat by seat, and the parts of each") {
    Two gradient;
    const ra::SeatGradients<Two> seats(gradient, {{0, 4}, {4, 2}, {6, 1}});
    const auto check = [](const auto& of, const auto& expected) {
        std::vector<ra::IndexRange> rows;
        of.for_each([&](auto& layer, ra::IndexRange of_seat) {
            CHECK(&layer == &expected);
            rows.push_back(of_seat);
        });
        CHECK(rows == std::vector<ra::IndexRange>{{0, 4}, {4, 2}, {6, 1}});
    };
    const auto norm = seats.part([](Two & two) -> auto& { return two.norms[1]; });
    check(seats.part([](Two & two) -> auto& { return two.dense; }), gradient.dense);
    check(norm, gradient.norms[1]);
    check(norm.part([](auto& layer) -> auto& { return layer.gamma; }), gradient.norms[1].gamma);
}

TEST_CASE("seat gradients: all rows to one gradient are one seat") {
    Dense gradient;
    int seats = 0;
    ra::SeatGradients<Dense>(gradient, 9).for_each([&](Dense& layer, ra::IndexRange rows) {
        ++seats;
        CHECK(&layer == &gradient);
        CHECK(rows == ra::IndexRange{0, 9});
    });
    CHECK(seats == 1);
}

TEST_CASE("seat gradients: a parameter takes one full sum a seat, in their order") {
    Dense layer;
    ra::Matrix<double> x(5, 2), d(5, 3);
    for (Index i = 0; i < x.size(); ++i) x.data()[i] = 1.0 / double(i + 3);
    for (Index i = 0; i < d.size(); ++i) d.data()[i] = 1.0 / double(7 - i * i);
    Dense::Cache cache;
    layer.forward(x, &cache);

    Dense together = ra::zeros_like(layer), first = together, second = together;
    layer.backward(d, cache, ra::SeatGradients<Dense>(together, {{0, 3}, {3, 2}}));
    layer.backward(d, cache, ra::SeatGradients<Dense>(first, {{0, 3}}));
    layer.backward(d, cache, ra::SeatGradients<Dense>(second, {{3, 2}}));
    first.kernel += second.kernel;
    first.bias += second.bias;
    CHECK(compare::same_bits(together.kernel, first.kernel));
    CHECK(compare::same_bits(together.bias, first.bias));
    CHECK(together.bias.isApprox(d.colwise().sum()));
    CHECK(together.kernel.isApprox(x.transpose() * d));
}

namespace {

/// What a seat's rows add to a number: sums of these depend on their order.
double contribution(Index row, Index at) {
    return std::cos(double(row * row + 3 * at)) * (row % 2 == 0 ? 1e9 : 1);
}

/// Two layers take what the seats add, one of them twice, and a parameter by itself.
void add_contributions(const ra::SeatGradients<Two>& gradients) {
    const auto dense = gradients.part([](Two & two) -> auto& { return two.dense; });
    const auto gamma = gradients.part([](Two & two) -> auto& { return two.norms[0].gamma; });
    const auto add = [](auto& numbers, ra::IndexRange rows) {
        for (Index i = 0; i < numbers.size(); ++i) {
            double sum = 0;
            for (Index row = rows.first; row < rows.end(); ++row) sum += contribution(row, i);
            numbers.data()[i] += sum;
        }
    };
    for (int time = 0; time < 2; ++time)
        dense.for_each([&](Dense& layer, ra::IndexRange rows) {
            add(layer.kernel, rows);
            add(layer.bias, rows);
        });
    gamma.for_each(add);
}

Two some_gradient() {
    Two gradient;
    for (Index i = 0; i < gradient.dense.kernel.size(); ++i) gradient.dense.kernel.data()[i] = std::sin(i);
    gradient.dense.bias.setConstant(0.1);
    return gradient;
}

}  // namespace

TEST_CASE(
    "seat gradients: every rank has the sum of one process, to the bit, and what nobody adds to is left") {
    for (const Index seq_len : {3, 5, 13}) {  // at 5 seats: ranks without any, one a rank, and several
        const auto seats_of = [&](int rank, int ranks) {
            const ra::Share share(ra::ChunkLayout(seq_len, 5), rank, ranks);
            ra::List<ra::IndexRange> rows;  // counted in the whole
            for (Index seat = 0; seat < share.num_seats(); ++seat)
                rows.push_back({share.tokens(seat).position(0), share.tokens(seat).count});
            return rows;
        };
        Two expected = some_gradient();
        add_contributions(ra::SeatGradients<Two>(expected, seats_of(0, 1)));
        for (const int ranks : {1, 2, 3, 5}) {
            CAPTURE(seq_len);
            CAPTURE(ranks);
            std::atomic<int> same = 0;
            ra::ThreadRing::run(ranks, [&](ra::ThreadRing& ring) {
                Two gradient = some_gradient();
                add_contributions({gradient, seats_of(ring.rank(), ranks), ring});
                same += compare::same_bits(gradient.dense.kernel, expected.dense.kernel) &&
                        compare::same_bits(gradient.dense.bias, expected.dense.bias) &&
                        compare::same_bits(gradient.norms[0].gamma, expected.norms[0].gamma) &&
                        compare::same_bits(gradient.norms[0].beta, Two().norms[0].beta);
            });
            CHECK(same == ranks);
        }
    }
}

TEST_CASE("seat gradients: where a rank fails in the midst of it, nobody waits for it") {
    for (const int failing : {0, 1, 2})
        CHECK_REFUSES(ra::ThreadRing::run(3,
                                          [&](ra::ThreadRing& ring) {
                                              Dense gradient;
                                              const ra::SeatGradients<Dense> seats(gradient, {{0, 1}}, ring);
                                              seats.for_each([&](Dense&, ra::IndexRange) {});
                                              seats.for_each([&](Dense&, ra::IndexRange) {
                                                  if (ring.rank() == failing) throw ra::Error("it failed");
                                              });
                                          }),
                      "it failed");
}

}  // namespace layers_seat_gradients
