// Which keys and values come to which rank, and when: against who sees whom, token by token.

#include <numeric>
#include <vector>

#include <doctest/doctest.h>

#include <ring_attention/attention/forward_travel.hpp>
#include <ring_attention/attention/traffic.hpp>
#include <ring_attention/ring/thread/thread_ring.hpp>

#include "support/told_numbers.hpp"
#include "support/travel_case.hpp"

namespace attention_forward_travel {

namespace {

namespace ra = ring_attention;
using ra::detail::HopPhase;
using support::TravelCase;
using support::WhoSeesWhom;

/// A visit as a rank remembers it.
struct Met {
    std::vector<HopPhase> phases;
    int hop;
    bool first, last;
    bool operator==(const Met&) const = default;
};

std::vector<Met> expected_visits(const TravelCase& c, const WhoSeesWhom& who, int rank) {
    if (c.ranks == 1) return {{{HopPhase::own_first, HopPhase::own_last}, 0, true, true}};
    std::vector<Met> visits{{{HopPhase::own_first}, 0, true, false}};
    for (int hop = 1; hop < c.ranks; ++hop)
        if (who.sees(rank, (rank + hop) % c.ranks))
            visits.push_back({{HopPhase::visiting}, hop, false, false});
    if (who.rank_sees_own_last[std::size_t(rank)])
        visits.push_back({{HopPhase::own_last}, c.ranks, false, false});
    visits.back().last = true;
    return visits;
}

/// Throws where a rank meets others than it should, or other contents. What each rank has sent.
std::vector<ra::Traffic> travel(const TravelCase& c, const WhoSeesWhom& who,
                                const std::optional<ra::EmulatedLink>& link = {}) {
    std::vector<ra::Traffic> sent(std::size_t(c.ranks));
    ra::ThreadRing::run(
        c.ranks,
        [&](ra::ThreadRing& ring) {
            const ra::AttentionPlan plan = c.plan(ring.rank());
            const auto own = support::told_message(plan);
            std::vector<Met> visits;
            ra::detail::receive_messages<double>(
                ring, plan, own.views(), own,
                [&](const ra::detail::HopVisit& visit, const ra::KeyValues<const double>& visitors) {
                    visits.push_back({visit.phases, visit.hop, visit.first, visit.last});
                    support::require_told(visitors, plan, (ring.rank() + visit.hop) % c.ranks,
                                          {0, c.heads.batch_key_value_heads()});
                });
            if (visits != expected_visits(c, who, ring.rank())) throw ra::Error("other visits");
            sent[std::size_t(ring.rank())] = ring.log().sent_on(ra::Channel::key_value);
        },
        link);
    return sent;
}

}  // namespace

TEST_CASE("forward travel: a rank meets those that it sees, in ring order, and nothing else is sent") {
    support::for_each_travel_case([](const TravelCase& c) {
        const WhoSeesWhom who(c);
        std::vector<ra::Traffic> sent;
        REQUIRE_NOTHROW(sent = travel(c, who));
        ra::Traffic all, expected;
        for (int rank = 0; rank < c.ranks; ++rank) {
            const ra::Traffic& of_rank = sent[std::size_t(rank)];
            CHECK(of_rank == ra::key_value_traffic<double>(c.plan(rank)));
            all.messages += of_rank.messages;
            all.bytes += of_rank.bytes;
            for (int home = 0; home < c.ranks; ++home) {
                if (home == rank || !who.sees(rank, home)) continue;
                ++expected.messages;
                expected.bytes += 8 * std::size_t(c.heads.batch * c.heads.key_value_heads *
                                                  (c.heads.key_width + c.heads.value_width) *
                                                  who.key_tokens[std::size_t(home)]);
            }
        }
        CHECK(all == expected);
    });
}

TEST_CASE("forward travel: where messages do not move on by themselves no rank waits forever") {
    support::for_each_travel_case([](const TravelCase& c) {
        if (c.ranks % 2 == 0 || c.seats == c.ranks) return;
        REQUIRE_NOTHROW(travel(c, WhoSeesWhom(c), ra::EmulatedLink{.latency = 1, .overlap = false}));
    });
}

TEST_CASE("forward travel: the timeline says which seats meet") {
    std::vector<std::vector<ra::TimelineEvent>> events(2);
    ra::ThreadRing::run(2, [&](ra::ThreadRing& ring) {
        const TravelCase c{ra::Layout::contiguous, 2, 5, 20, 20, 0, {1, 1, 1, 1, 1}, {}, ""};
        const ra::AttentionPlan plan = c.plan(ring.rank());
        ra::Timeline timeline;
        ring.log().timeline = &timeline;
        for (const int hop : {0, 1, 2}) ra::detail::compute_span(ring, plan, hop);
        events[std::size_t(ring.rank())] = timeline.take();
    });
    const auto name = [&](std::size_t rank, std::size_t event) { return events[rank].at(event).name; };
    CHECK(name(0, 0) == "seats 0-2 meet 0-2");
    CHECK(name(0, 1) == "seats 0-2 meet 3-4");
    CHECK(name(1, 1) == "seats 3-4 meet 0-2");
    CHECK(name(1, 2) == "seats 3-4 meet 3-4");
}

}  // namespace attention_forward_travel
