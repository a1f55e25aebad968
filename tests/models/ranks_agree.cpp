// Ranks that do not have the same model or masks find out before anything travels, and replicas add up.

#include <doctest/doctest.h>

#include <ring_attention/models/build.hpp>
#include <ring_attention/ring/thread/thread_ring.hpp>
#include <ring_attention/sequence/scatter.hpp>

#include "support/compare.hpp"
#include "support/error_message.hpp"
#include "support/tensors.hpp"

namespace {

namespace ra = ring_attention;

constexpr ra::Options options{.embed_dim = 4,
                              .hidden_size = 4,
                              .num_heads = 2,
                              .num_chunks = 3,
                              .num_layers = 1,
                              .output = ra::Output::all};
constexpr ra::Options other_heads = [] {
    ra::Options other = options;
    other.num_heads = 1;
    return other;
}();

/// On three ranks, of which each calls forward(rank, tokens, ring).
void run(const auto& forward) {
    const auto x = tensors::normal<float, 3>({1, 9, 4}, 1);
    ra::ThreadRing::run(3, [&](ra::ThreadRing& ring) {
        forward(ring.rank(), ra::tokens_of(x, ra::share<options>(ring, 9)), ring);
        if (ring.log().sent_on(ra::Channel::key_value).bytes == 0) throw ra::Error("nothing was sent");
    });
}

}  // namespace

TEST_CASE("ranks agree: alike, they compute") {
    const auto model = ra::build<options>(1);
    CHECK_NOTHROW(run([&](int, const auto& x, auto& ring) { model(x, ring); }));
}

TEST_CASE("ranks agree: other weights are found out, and the rank is named") {
    CHECK_REFUSES(
        run([&](int rank, const auto& x, auto& ring) { ra::build<options>(rank == 1 ? 2 : 1)(x, ring); }),
        "rank 1 has other weights", "rank 0");
    CHECK_REFUSES(run([&](int rank, const auto& x, auto& ring) {
                      auto model = ra::build<options>(1);
                      if (rank == 2) ra::part<"final_norm">(model.body).beta(3) = -0.0f;
                      model(x, ring);
                  }),
                  "rank 2 has other weights");
}

TEST_CASE("ranks agree: other options are found out, also those that no weight shows") {
    CHECK_REFUSES(run([&](int rank, const auto& x, auto& ring) {
                      if (rank == 1)
                          ra::build<other_heads>(1)(x, ring);
                      else
                          ra::build<options>(1)(x, ring);
                  }),
                  "rank 1 has other options");
}

TEST_CASE("ranks agree: other dropout is found out") {
    const auto model = ra::build<options>(1);
    for (const ra::Dropout other : {ra::Dropout{1, 2}, ra::Dropout{2, 1}})
        CHECK_REFUSES(run([&](int rank, const auto& x, auto& ring) {
                          typename std::decay_t<decltype(model)>::Cache cache;
                          const ra::Dropout same{1, 1};
                          model.forward(x, cache, rank == 2 ? other : same, ring);
                      }),
                      "rank 2 has other dropout");
}

TEST_CASE("replicas: gradients add up in the order of the ranks") {
    const auto of_rank = [](int rank) { return ra::build<options>(std::uint64_t(rank)); };
    auto sum = of_rank(0);
    for (const int rank : {1, 2}) {
        const auto part = of_rank(rank);
        ra::for_each_parameter_in_step([](std::string_view, const auto& from, auto& to) { to += from; }, part,
                                       sum);
    }
    ra::ThreadRing::run(3, [&](ra::ThreadRing& ring) {
        auto gradient = of_rank(ring.rank());
        ra::add_over_ranks(ring, gradient);
        ra::for_each_parameter_in_step(
            [](std::string_view name, const auto& a, const auto& b) {
                if (!compare::same_bits(a, b)) throw ra::Error("another sum of " + std::string(name));
            },
            gradient, sum);
    });
}
