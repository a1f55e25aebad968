// Ranks that do not have the same model or masks find out before anything travels, and replicas add up.

#include <type_traits>

#include <doctest/doctest.h>

#include <ring_attention/io/weights.hpp>
#include <ring_attention/models/build.hpp>
#include <ring_attention/ring/thread/thread_ring.hpp>
#include <ring_attention/sequence/scatter.hpp>

#include "support/compare.hpp"
#include "support/error_message.hpp"
#include "support/temporary_folder.hpp"
#include "support/tensors.hpp"

namespace models_ranks_agree {

namespace {

namespace ra = ring_attention;

constexpr ra::Options options{.embed_dim = 4,
                              .hidden_size = 4,
                              .num_heads = 2,
                              .num_chunks = 3,
                              .num_layers = 1,
                              .output = ra::Output::all};
constexpr ra::Options other_seats = [] {
    ra::Options other = options;
    other.num_chunks = 5;
    other.layout = ra::Layout::striped;
    return other;
}();
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

static_assert(std::is_same_v<ra::SequenceModel<options>, ra::SequenceModel<other_seats>>);
static_assert(!std::is_same_v<ra::SequenceModel<options>, ra::SequenceModel<other_heads>>);

TEST_CASE("ranks agree: another number of chunks or layout, which no type shows, is found out and told") {
    const auto model = ra::build<options>(1);
    const auto on_rank_1 = [&](const auto& change) {
        run([&](int rank, const auto& x, auto& ring) {
            auto own = model;
            if (rank == 1) change(own);
            own(x, ring);
        });
    };
    CHECK_NOTHROW(on_rank_1([](auto&) {}));
    CHECK_REFUSES(on_rank_1([](auto& own) { own.num_chunks = 4; }), "rank 1 has num_chunks 4",
                  "that of rank 0, 3");
    CHECK_REFUSES(on_rank_1([](auto& own) { own.layout = ra::Layout::zigzag; }), "rank 1 has layout zigzag",
                  "that of rank 0, contiguous");
    CHECK_REFUSES(on_rank_1([](auto& own) { own.num_chunks = 0; }), "rank 1 has num_chunks 0");
}

TEST_CASE("seats: build sets what the options say, a gradient and a copy keep it, a file does not have it") {
    const auto model = ra::build<other_seats>(1);
    CHECK(model.num_chunks == 5);
    CHECK(model.layout == ra::Layout::striped);
    CHECK(ra::zeros_like(model).num_chunks == 5);
    CHECK(ra::zeros_like(model).layout == ra::Layout::striped);
    CHECK(model.share(ra::LocalRing(), 9) == ra::share<other_seats>(ra::LocalRing(), 9));
    const ra::SequenceModel<options> made;
    CHECK(made.num_chunks == 4);
    CHECK(made.layout == ra::Layout::contiguous);

    const TemporaryFolder folder;
    ra::save(model, folder / "weights.safetensors");
    auto loaded = ra::build<options>(2);
    ra::load(loaded, folder / "weights.safetensors");
    CHECK(loaded.num_chunks == 3);
    CHECK(loaded.layout == ra::Layout::contiguous);
    const auto x = tensors::normal<float, 3>({1, 9, 4}, 1);
    CHECK(compare::largest_difference(loaded(x), model(x)) < 2e-6);
    loaded.num_chunks = model.num_chunks;
    loaded.layout = model.layout;
    CHECK(compare::same_bits(loaded(x), model(x)));
}

TEST_CASE("seats: a model without any is refused") {
    auto model = ra::build<options>(1);
    model.num_chunks = 0;
    CHECK_REFUSES(model(tensors::normal<float, 3>({1, 9, 4}, 1)), "num_chunks is 0", "at least 1");
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

}  // namespace models_ranks_agree
