// Positions of tokens, against lists.

#include "support/token_positions.hpp"

#include <doctest/doctest.h>

namespace ra = ring_attention;
using namespace support;

TEST_CASE("token positions: tokens stand a stride apart, and from the gap on further") {
    for_each_run([](const ra::TokenPositions& run) { CHECK(ask(run) == walk(run)); });
    CHECK(walk({5, 3}) == Positions{5, 6, 7});
    CHECK(walk({1, 5, 3, 2, 10}) == Positions{1, 4, 17, 20, 23});
}

TEST_CASE("token positions: a part has the positions of its tokens") {
    for_each_run([](const ra::TokenPositions& run) {
        const Positions all = walk(run);
        for (Index first = 0; first < run.count; ++first)
            for (Index count = 0; count <= run.count - first; ++count)
                CHECK(walk(run.middle(first, count)) ==
                      Positions(all.begin() + first, all.begin() + first + count));
    });
}

TEST_CASE("token positions: how many stand at or before a position, of the run and of its parts") {
    for_each_run([](const ra::TokenPositions& run) {
        const Positions all = walk(run);
        const Index past_the_end = all.empty() ? run.first + 3 : all.back() + 3;
        for (Index position = run.first - 3; position <= past_the_end; ++position) {
            CAPTURE(position);
            CHECK(run.count_up_to(position) == count_up_to(all, position));
            if (run.count < 3) continue;
            const ra::TokenPositions part = run.middle(1, run.count - 2);
            CHECK(part.count_up_to(position) == count_up_to(walk(part), position));
        }
    });
}

TEST_CASE("token positions: which stand in an interval of positions, of the run and of its parts") {
    const auto check = [](const ra::TokenPositions& run, Index first, Index count) {
        const Positions all = walk(run);
        const ra::IndexRange indices = run.indices({first, count});
        REQUIRE(indices.count >= 0);
        for (Index i = 0; i < run.count; ++i) {
            const Index position = all[std::size_t(i)];
            REQUIRE((i >= indices.first && i < indices.end()) ==
                    (position >= first && position < first + count));
        }
        if (indices.count == 0) return;
        REQUIRE(indices.first >= 0);
        REQUIRE(indices.end() <= run.count);
    };
    for_each_run([&](const ra::TokenPositions& run) {
        const Positions all = walk(run);
        const Index past_the_end = all.empty() ? run.first + 3 : all.back() + 3;
        for (Index first = run.first - 3; first <= past_the_end; ++first)
            for (const Index count : {0, 1, 2, 5, 40}) {
                CAPTURE(first);
                CAPTURE(count);
                check(run, first, count);
                if (run.count >= 3) check(run.middle(1, run.count - 2), first, count);
            }
    });
}

TEST_CASE(
    "token positions: before the gap, if there is one, tokens stand a stride apart, and so they do after "
    "it") {
    for_each_run([](const ra::TokenPositions& run) {
        const Positions all = walk(run);
        REQUIRE(run.before_gap() >= 0);
        REQUIRE(run.before_gap() <= run.count);
        for (Index i = 1; i < run.count; ++i)
            if (i != run.before_gap()) CHECK(all[std::size_t(i)] - all[std::size_t(i - 1)] == run.stride);
        if (run.gap == 0) CHECK(run.before_gap() == run.count);
    });
}

TEST_CASE("token positions: two runs of neighbours are one after the other") {
    for (Index count = 0; count <= 4; ++count)
        for (Index other_count = 0; other_count <= 4; ++other_count)
            for (Index between = 0; between <= 3; ++between) {
                const ra::IndexRange one{2, count}, other{one.end() + between, other_count};
                CAPTURE(count);
                CAPTURE(other_count);
                CAPTURE(between);
                Positions both;
                for (Index i = 0; i < count; ++i) both.push_back(one.first + i);
                for (Index i = 0; i < other_count; ++i) both.push_back(other.first + i);
                const ra::TokenPositions run = ra::TokenPositions::two_runs(one, other);
                CHECK(walk(run) == both);
                if (count == 0 || other_count == 0) CHECK(run.gap == 0);
                for (Index position = 0; position < 16; ++position)
                    CHECK(run.count_up_to(position) == count_up_to(both, position));
            }
}
