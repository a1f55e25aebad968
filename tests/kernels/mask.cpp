// Runs of tokens and the mask, against lists of positions.

#include <algorithm>
#include <vector>

#include <doctest/doctest.h>

#include <ring_attention/kernels/mask.hpp>

namespace ra = ring_attention;
using ra::Index;
using Positions = std::vector<Index>;

namespace {

/// One token after the other, as the docstring of TokenRun says.
Positions walk(const ra::TokenRun& run) {
    Positions positions;
    Index next = run.first;
    for (Index i = 0; i < run.count; ++i, next += run.stride) {
        if (i == run.gap_at) next += run.gap;
        positions.push_back(next);
    }
    return positions;
}

Positions ask(const ra::TokenRun& run) {
    Positions positions;
    for (Index i = 0; i < run.count; ++i) positions.push_back(run.position(i));
    return positions;
}

Index count_up_to(const Positions& positions, Index position) {
    return std::count_if(positions.begin(), positions.end(), [&](Index other) { return other <= position; });
}

/// Calls f(run) for runs of up to 7 tokens of all strides, gaps and places of the gap.
template <class F>
void for_each_run(const F& f) {
    for (const Index first : {0, 3})
        for (Index count = 0; count <= 7; ++count)
            for (Index stride = 1; stride <= 4; ++stride)
                for (const Index gap : {0, 1, 2, 9})
                    for (Index gap_at = 0; gap_at <= count; ++gap_at) {
                        CAPTURE(first);
                        CAPTURE(count);
                        CAPTURE(stride);
                        CAPTURE(gap_at);
                        CAPTURE(gap);
                        f(ra::TokenRun{first, count, stride, gap_at, gap});
                    }
}

}  // namespace

TEST_CASE("token run: tokens stand a stride apart, and from the gap on further") {
    for_each_run([](const ra::TokenRun& run) { CHECK(ask(run) == walk(run)); });
    CHECK(walk({5, 3}) == Positions{5, 6, 7});
    CHECK(walk({1, 5, 3, 2, 10}) == Positions{1, 4, 17, 20, 23});
}

TEST_CASE("token run: a part has the positions of its tokens") {
    for_each_run([](const ra::TokenRun& run) {
        const Positions all = walk(run);
        for (Index first = 0; first < run.count; ++first)
            for (Index count = 0; count <= run.count - first; ++count)
                CHECK(walk(run.middle(first, count)) ==
                      Positions(all.begin() + first, all.begin() + first + count));
    });
}

TEST_CASE("token run: how many stand at or before a position, of the run and of its parts") {
    for_each_run([](const ra::TokenRun& run) {
        const Positions all = walk(run);
        const Index past_the_end = all.empty() ? run.first + 3 : all.back() + 3;
        for (Index position = run.first - 3; position <= past_the_end; ++position) {
            CAPTURE(position);
            CHECK(run.count_up_to(position) == count_up_to(all, position));
            if (run.count < 3) continue;
            const ra::TokenRun part = run.middle(1, run.count - 2);
            CHECK(part.count_up_to(position) == count_up_to(walk(part), position));
        }
    });
}

TEST_CASE(
    "token run: before the gap, if there is one, tokens stand a stride apart, and so they do after it") {
    for_each_run([](const ra::TokenRun& run) {
        const Positions all = walk(run);
        REQUIRE(run.before_gap() >= 0);
        REQUIRE(run.before_gap() <= run.count);
        for (Index i = 1; i < run.count; ++i)
            if (i != run.before_gap()) CHECK(all[std::size_t(i)] - all[std::size_t(i - 1)] == run.stride);
        if (run.gap == 0) CHECK(run.before_gap() == run.count);
    });
}

TEST_CASE("token run: two runs of neighbours are one after the other") {
    for (Index count = 0; count <= 4; ++count)
        for (Index other_count = 0; other_count <= 4; ++other_count)
            for (Index between = 0; between <= 3; ++between) {
                const ra::Run one{2, count}, other{one.end() + between, other_count};
                CAPTURE(count);
                CAPTURE(other_count);
                CAPTURE(between);
                Positions both;
                for (Index i = 0; i < count; ++i) both.push_back(one.first + i);
                for (Index i = 0; i < other_count; ++i) both.push_back(other.first + i);
                const ra::TokenRun run = ra::TokenRun::two_runs(one, other);
                CHECK(walk(run) == both);
                if (count == 0 || other_count == 0) CHECK(run.gap == 0);
                for (Index position = 0; position < 16; ++position)
                    CHECK(run.count_up_to(position) == count_up_to(both, position));
            }
}

TEST_CASE("mask: a query sees the keys at its position and before, or all") {
    for_each_run([](const ra::TokenRun& keys) {
        for (Index position = 0; position < 45; ++position) {
            CHECK(ra::Mask{true}.visible(position, keys) == count_up_to(walk(keys), position));
            CHECK(ra::Mask{false}.visible(position, keys) == keys.count);
        }
    });
}

TEST_CASE("mask: whether any query sees any key") {
    for_each_run([](const ra::TokenRun& queries) {
        const Positions query_positions = walk(queries);
        for (const ra::TokenRun& keys : {ra::TokenRun{0, 0}, ra::TokenRun{4, 2}, ra::TokenRun{9, 3, 2},
                                         ra::TokenRun{3, 2, 1, 0, 7}, ra::TokenRun{12, 4, 5, 1, 2}}) {
            const Positions key_positions = walk(keys);
            bool causal = false;
            for (const Index query : query_positions)
                causal = causal || count_up_to(key_positions, query) > 0;
            CHECK(ra::Mask{true}.any_visible(queries, keys) == causal);
            CHECK(ra::Mask{false}.any_visible(queries, keys) == (queries.count > 0 && keys.count > 0));
        }
    });
}
