// Cutting a sequence into what each rank holds, and putting it together again.

#include <atomic>

#include <doctest/doctest.h>

#include <ring_attention/ring/local_ring.hpp>
#include <ring_attention/ring/thread/thread_ring.hpp>
#include <ring_attention/sequence/scatter.hpp>

#include "support/compare.hpp"
#include "support/error_message.hpp"
#include "support/layouts.hpp"
#include "support/tensors.hpp"

namespace ra = ring_attention;
using ra::Index;

namespace {

/// Calls f(layout, ranks) for lengths from less than a token a seat to many.
template <class F>
void for_each_ring(const F& f) {
    for (const ra::Layout layout : support::every_layout)
        for (const Index seq_len : {1, 2, 5, 11, 24})
            for (const int num_seats : {1, 2, 3, 5, 6})
                for (int ranks = 1; ranks <= num_seats; ++ranks) {
                    INFO(support::name_of(layout), ", ", seq_len, " tokens at ", num_seats, " seats, ", ranks,
                         " ranks");
                    f(ra::ChunkLayout(seq_len, num_seats, layout), ranks);
                }
}

/// A sequence of which every number is another; its tokens are on axis 1 of 3, and on axis 2 of 4.
template <int rank>
auto numbered(Index seq_len) {
    if constexpr (rank == 3)
        return tensors::normal<float, 3>({2, seq_len, 3}, 1);
    else
        return tensors::normal<double, 4>({2, 3, seq_len, 2}, 1);
}

/// Token number i of the part is the token at positions[i] of the whole.
template <class T, int rank>
bool holds_positions(const ra::Tensor<T, rank>& part, const ra::Tensor<T, rank>& whole,
                     const support::Positions& positions) {
    constexpr std::size_t axis = rank == 3 ? 1 : 2;
    auto extents = whole.dimensions();
    extents[axis] = Index(positions.size());
    if (part.dimensions() != extents) return false;
    for (std::size_t i = 0; i < positions.size(); ++i)
        if (!compare::same_bits(tensors::slice(part, axis, Index(i), 1),
                                tensors::slice(whole, axis, positions[i], 1)))
            return false;
    return true;
}

/// The tokens of a rank, by dealing.
support::Positions dealt(const ra::ChunkLayout& layout, int rank, int ranks) {
    const auto seats = support::seat_positions(layout.layout(), layout.seq_len(), layout.num_seats());
    const support::Positions own_seats = support::cut(layout.num_seats(), ranks)[std::size_t(rank)];
    support::Positions positions;
    for (const Index seat : own_seats) positions = support::joined(positions, seats[std::size_t(seat)]);
    return positions;
}

template <int rank>
void check_tokens_of_and_put_tokens() {
    constexpr std::size_t axis = rank == 3 ? 1 : 2;
    for_each_ring([](const ra::ChunkLayout& layout, int ranks) {
        const auto whole = numbered<rank>(layout.seq_len());
        auto again = whole;
        again.setConstant(-7);
        for (int r = 0; r < ranks; ++r) {
            const ra::Share share(layout, r, ranks);
            const auto part = ra::tokens_of(whole, share, axis);
            CHECK(holds_positions(part, whole, dealt(layout, r, ranks)));
            ra::put_tokens(part, share, again, axis);
        }
        CHECK(compare::same_bits(again, whole));
    });
}

/// Rank 0 gives everybody's tokens out and gets them again.
template <int rank>
bool scatters_and_gathers(auto& ring, const ra::ChunkLayout& layout) {
    constexpr std::size_t axis = rank == 3 ? 1 : 2;
    const ra::Share share(layout, ring.rank(), ring.ranks());
    const auto whole = numbered<rank>(layout.seq_len());
    const auto given = ring.rank() == 0 ? whole : decltype(numbered<rank>(1))();
    const auto part = ra::scatter(ring, given, share, axis);
    const auto gathered = ra::gather(ring, part, share, axis);
    return holds_positions(part, whole, dealt(layout, ring.rank(), ring.ranks())) &&
           (ring.rank() == 0 ? compare::same_bits(gathered, whole) : gathered.size() == 0);
}

template <int rank>
void check_scatter_and_gather() {
    for_each_ring([](const ra::ChunkLayout& layout, int ranks) {
        ra::LocalRing local;
        if (ranks == 1) CHECK(scatters_and_gathers<rank>(local, layout));
        std::atomic<int> right = 0;
        ra::ThreadRing::run(ranks,
                            [&](ra::ThreadRing& ring) { right += scatters_and_gathers<rank>(ring, layout); });
        CHECK(right == ranks);
    });
}

}  // namespace

TEST_CASE("tokens_of a share are those at its positions, and put_tokens puts them back, axis 1") {
    check_tokens_of_and_put_tokens<3>();
}

TEST_CASE("tokens_of a share are those at its positions, and put_tokens puts them back, axis 2") {
    check_tokens_of_and_put_tokens<4>();
}

TEST_CASE("scatter gives every rank its tokens, and gather gives rank 0 the whole, axis 1") {
    check_scatter_and_gather<3>();
}

TEST_CASE("scatter gives every rank its tokens, and gather gives rank 0 the whole, axis 2") {
    check_scatter_and_gather<4>();
}

TEST_CASE("tokens_of and put_tokens refuse what is not of the share") {
    const ra::Share share(ra::ChunkLayout(7, 3, ra::Layout::striped), 1, 2);  // tokens 2 and 5
    ra::Tensor<float, 3> whole(2, 7, 4), longer(2, 8, 4), part(2, 2, 4), more(2, 3, 4), narrow(2, 2, 3);
    CHECK_NOTHROW(ra::put_tokens(part, share, whole));
    CHECK_REFUSES(ra::tokens_of(longer, share), "the whole", "[2, 8, 4]", "7 tokens on axis 1");
    CHECK_REFUSES(ra::tokens_of(whole, share, 2), "the whole", "[2, 7, 4]", "7 tokens on axis 2");
    CHECK_REFUSES(ra::tokens_of(whole, share, 3), "the whole", "[2, 7, 4]", "7 tokens on axis 3");
    CHECK_REFUSES(ra::put_tokens(part, share, longer), "the whole", "[2, 8, 4]", "7 tokens on axis 1");
    CHECK_REFUSES(ra::put_tokens(more, share, whole), "the part", "[2, 3, 4]", "[2, 2, 4]");
    CHECK_REFUSES(ra::put_tokens(narrow, share, whole), "the part", "[2, 2, 3]", "[2, 2, 4]");
}

TEST_CASE("scatter and gather refuse what is not of the share, and nobody waits for ever") {
    const auto on_ranks = [](auto&& rank_main) {
        ra::ThreadRing::run(3, [&](ra::ThreadRing& ring) {
            rank_main(ring, ra::Share(ra::ChunkLayout(7, 3), ring.rank(), 3));
        });
    };
    const ra::Tensor<float, 3> longer(2, 8, 4);
    CHECK_REFUSES(on_ranks([&](auto& ring, const auto& share) { ra::scatter(ring, longer, share); }),
                  "the whole", "[2, 8, 4]", "7 tokens on axis 1");
    for (const Index axis : {1, 3})
        CHECK_REFUSES(on_ranks([&](auto& ring, const auto& share) {
                          const ra::Tensor<float, 3> part(2, ring.rank() == 1 ? 5 : share.num_tokens(), 4);
                          ra::gather(ring, part, share, std::size_t(axis));
                      }),
                      "the part", "expected");
    ra::LocalRing local;
    CHECK_REFUSES(ra::scatter(local, longer, ra::Share(ra::ChunkLayout(7, 3), 0, 1)), "[2, 8, 4]");
    CHECK_REFUSES(ra::gather(local, longer, ra::Share(ra::ChunkLayout(7, 3), 0, 1)), "the part", "7 tokens");
}
