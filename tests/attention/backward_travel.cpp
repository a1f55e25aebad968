// Gradients gather what the ranks add in the order of the ring, and end at home.

#include <vector>

#include <doctest/doctest.h>

#include <ring_attention/attention/backward_travel.hpp>
#include <ring_attention/attention/traffic.hpp>
#include <ring_attention/ring/thread/thread_ring.hpp>

#include "support/told_numbers.hpp"
#include "support/travel_case.hpp"

namespace attention_backward_travel {

namespace {

namespace ra = ring_attention;
using ra::Index;
using support::TravelCase;
using support::WhoSeesWhom;

/// What a rank adds to a gradient: in the end its digits tell who has added, and in which order.
double added(double gradient, int rank, double told) {
    return 10 * gradient + (rank + 1) + told;
}

double expected_gradient(const TravelCase& c, const WhoSeesWhom& who, int home, double told) {
    double gradient = added(0, home, told);
    for (int hop = 1; hop < c.ranks; ++hop)
        if (const int rank = (home - hop + c.ranks) % c.ranks; who.sees(rank, home))
            gradient = added(gradient, rank, told);
    return added(gradient, home, told);
}

/// What a rank has sent.
struct Sent {
    ra::Traffic key_value, gradient;
};

/// Throws where a rank meets others than it should, other contents, or gets other gradients.
std::vector<Sent> travel(const TravelCase& c, const WhoSeesWhom& who,
                         const std::optional<ra::EmulatedLink>& link = {}) {
    std::vector<Sent> sent(std::size_t(c.ranks));
    ra::ThreadRing::run(
        c.ranks,
        [&](ra::ThreadRing& ring) {
            const ra::AttentionPlan plan = c.plan(ring.rank());
            const auto own = support::told_message(plan);
            const ra::KeyValues<const double> own_views = own.views();
            ra::KeyValueMessage<double> d_own(plan.keys, plan.heads);
            d_own.set_zero();
            const ra::KeyValues<double> d_own_views = d_own.views();
            const Index all_heads = c.heads.batch_key_value_heads();
            int hop = 0;
            Index next_head = 0;  // at a hop, part by part
            ra::detail::BackwardTravel<double>(ring, plan, own_views, own, d_own_views)
                .run([&](const ra::detail::HopVisit& visit, const ra::IndexRange& heads,
                         const ra::KeyValues<const double>& visitors,
                         const ra::KeyValues<double>& gradients) {
                    const int home = (ring.rank() + visit.hop) % c.ranks;
                    if (next_head == all_heads) {
                        next_head = 0;
                        for (++hop; hop < c.ranks; ++hop)
                            if (who.sees(ring.rank(), (ring.rank() + hop) % c.ranks)) break;
                    }
                    if (visit.hop != hop || heads.first != next_head) throw ra::Error("another visit");
                    next_head = heads.end();
                    support::require_told(visitors, plan, home, heads);
                    support::for_each_number(gradients, home, heads, [&](double& number, double told) {
                        number = added(number, ring.rank(), told);
                    });
                });
            if (hop != c.ranks || next_head != all_heads) throw ra::Error("visits are missing");
            support::for_each_number(d_own_views, ring.rank(), {0, all_heads},
                                     [&](double number, double told) {
                                         if (number != expected_gradient(c, who, ring.rank(), told))
                                             throw ra::Error("another gradient, " + std::to_string(number));
                                     });
            sent[std::size_t(ring.rank())] = {ring.log().sent_on(ra::Channel::key_value),
                                              ring.log().sent_on(ra::Channel::gradient)};
        },
        link);
    return sent;
}

}  // namespace

TEST_CASE("backward travel: gradients gather own, those of the ranks before that see, own, and are at home") {
    support::for_each_travel_case([](const TravelCase& c) {
        const WhoSeesWhom who(c);
        std::vector<Sent> sent;
        REQUIRE_NOTHROW(sent = travel(c, who));
        ra::Traffic gradients, expected;
        const auto parts = std::min<std::uint64_t>(4, std::uint64_t(c.heads.batch_key_value_heads()));
        for (int rank = 0; rank < c.ranks; ++rank) {
            const ra::AttentionPlan plan = c.plan(rank);
            const auto& [key_value, gradient] = sent[std::size_t(rank)];
            CHECK(ra::messages_backward(plan) == parts);
            ra::Traffic forward = ra::key_value_traffic<double>(plan);
            forward.messages *= parts;
            CHECK(key_value == forward);
            CHECK(gradient == ra::gradient_traffic<double>(plan));
            gradients.messages += gradient.messages;
            gradients.bytes += gradient.bytes;
        }
        // To each rank that sees, and home from the last of each run of ranks that do.
        for (int home = 0; home < c.ranks; ++home)
            for (int hop = 1; hop < c.ranks; ++hop) {
                const int rank = (home + hop) % c.ranks, before = (home + hop - 1) % c.ranks;
                if (!who.sees(rank, home)) continue;
                const bool last = before == home || !who.sees(before, home);
                expected.messages += parts * (last ? 2 : 1);
                expected.bytes += (last ? 2 : 1) * 8 *
                                  std::size_t(c.heads.batch * c.heads.key_value_heads *
                                              (c.heads.key_width + c.heads.value_width) *
                                              who.key_tokens[std::size_t(home)]);
            }
        CHECK(gradients == expected);
    });
}

TEST_CASE("backward travel: where messages do not move on by themselves no rank waits forever") {
    support::for_each_travel_case([](const TravelCase& c) {
        if (c.ranks % 2 == 0 || c.seats == c.ranks) return;
        REQUIRE_NOTHROW(travel(c, WhoSeesWhom(c), ra::EmulatedLink{.latency = 1, .overlap = false}));
    });
}

}  // namespace attention_backward_travel
