#include <numeric>
#include <vector>

#include <doctest/doctest.h>

#include <ring_attention/sequence/activations.hpp>

#include "support/layouts.hpp"

namespace ra = ring_attention;

TEST_CASE("enter_seats gives each seat its tokens of every batch entry, and leave_seats puts them back") {
    constexpr ra::Index batch = 2, seq_len = 7, width = 3;
    std::vector<float> numbers(batch * seq_len * width);
    std::iota(numbers.begin(), numbers.end(), 0.0f);
    const ra::Share share(ra::ChunkLayout(seq_len, 3), 0, 1);  // 3, 2, 2 tokens
    const ra::Matrix<float> rows = ra::enter_seats(numbers.data(), batch, width, share);
    CHECK(rows.rows() == 14);
    CHECK(ra::rows_of_seat(share, batch, 1) == ra::IndexRange{6, 4});
    CHECK(rows(6, 0) == 3 * width);            // seat 1, batch 0, position 3
    CHECK(rows(8, 1) == (7 + 3) * width + 1);  // seat 1, batch 1, position 3
    std::vector<float> joined(numbers.size());
    ra::leave_seats(rows, batch, share, joined.data());
    CHECK(joined == numbers);
}

TEST_CASE("enter_seats and leave_seats, in every layout, for every rank") {
    constexpr ra::Index batch = 2, width = 3;
    for (const ra::Layout layout : support::every_layout)
        for (const ra::Index seq_len : {1, 4, 7, 23})
            for (const int ranks : {1, 2, 3})
                for (int rank = 0; rank < ranks; ++rank) {
                    INFO(support::name_of(layout), ", ", seq_len, " tokens, rank ", rank, " of ", ranks);
                    const ra::Share share(ra::ChunkLayout(seq_len, 5, layout), rank, ranks);
                    std::vector<float> numbers, expected;  // batch entry, position and feature are the digits
                    const auto push = [](std::vector<float>& to, ra::Index b, ra::Index position) {
                        for (ra::Index i = 0; i < width; ++i)
                            to.push_back(float(1000 * b + 10 * position + i));
                    };
                    for (ra::Index b = 0; b < batch; ++b)
                        for (const ra::Index position : share.positions()) push(numbers, b, position);
                    for (ra::Index seat = 0; seat < share.num_seats(); ++seat)
                        for (ra::Index b = 0; b < batch; ++b)
                            for (const ra::Index position : support::positions_of(share.tokens(seat)))
                                push(expected, b, position);
                    const ra::Matrix<float> rows = ra::enter_seats(numbers.data(), batch, width, share);
                    CHECK(std::vector<float>(rows.data(), rows.data() + rows.size()) == expected);
                    std::vector<float> joined(numbers.size());
                    ra::leave_seats(rows, batch, share, joined.data());
                    CHECK(joined == numbers);
                }
}
