#include <doctest/doctest.h>

#include <ring_attention/ring/thread/thread_ring.hpp>
#include <ring_attention/sequence/scatter.hpp>
#include <ring_attention/training/next_tokens.hpp>

#include "support/compare.hpp"
#include "support/error_message.hpp"

namespace training_next_tokens {

namespace ra = ring_attention;

TEST_CASE("next tokens: what follows each, wherever it is at home") {
    for (const auto layout : {ra::Layout::contiguous, ra::Layout::zigzag, ra::Layout::striped})
        for (const ra::Index seq_len : {1, 2, 5, 13, 32})
            for (const int ranks : {1, 2, 3, 5})
                ra::ThreadRing::run(ranks, [&](ra::ThreadRing& ring) {
                    constexpr ra::Index batch = 2;
                    ra::Tensor<ra::Token, 2> tokens(batch, seq_len), targets(batch, seq_len);
                    for (ra::Index b = 0; b < batch; ++b)
                        for (ra::Index t = 0; t < seq_len; ++t) {
                            tokens(b, t) = ra::Token(100 * b + t);
                            targets(b, t) = t + 1 < seq_len ? ra::Token(100 * b + t + 1) : ra::ignored_target;
                        }
                    const ra::Share share = ra::share(ring, seq_len, 5, layout);
                    const auto found = ra::next_tokens(ra::tokens_of(tokens, share), share, ring);
                    if (!compare::same_bits(found, ra::tokens_of(targets, share)))
                        throw ra::Error("other targets");
                });
}

TEST_CASE("next tokens: tokens that are not those of the share are refused") {
    ra::LocalRing ring;
    CHECK_REFUSES(ra::next_tokens(ra::Tensor<ra::Token, 2>(2, 6), ra::share(ring, 7, 2), ring), "tokens",
                  "[2, 6]", "[2, 7]");
}

}  // namespace training_next_tokens
