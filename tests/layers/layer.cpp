#include <atomic>
#include <cstdint>
#include <vector>

#include <doctest/doctest.h>

#include <ring_attention/layers/dense.hpp>
#include <ring_attention/layers/identity.hpp>
#include <ring_attention/layers/layer_norm.hpp>
#include <ring_attention/layers/positional_encoding.hpp>
#include <ring_attention/layers/stream_pass.hpp>

#include "support/compare.hpp"
#include "support/num_threads.hpp"

namespace layers_layer {

namespace ra = ring_attention;
using ra::Index;

namespace {

using Dense = ra::Dense<double, 2, 3>;

static_assert(ra::TokenLayer<Dense> && !ra::SequenceLayer<Dense>);
static_assert(ra::TokenLayer<ra::LayerNorm<float, 4>> && ra::TokenLayer<ra::Identity<float, 4>>);
static_assert(ra::SequenceLayer<ra::PositionalEncoding<float, 4>> &&
              !ra::TokenLayer<ra::PositionalEncoding<float, 4>>);
static_assert(ra::StreamingLayer<Dense> && ra::StreamingLayer<ra::PositionalEncoding<float, 4>>);

/// Two columns a token: the batch entry and the position. A rank's own, as its layers see them.
ra::Matrix<double> named_tokens(const ra::Share& share, Index batch) {
    std::vector<double> numbers;
    for (Index b = 0; b < batch; ++b)
        for (const Index position : share.positions()) {
            numbers.push_back(double(b));
            numbers.push_back(double(position));
        }
    return ra::enter_seats(numbers.data(), batch, 2, share);
}

/// Calls f(pass) for each rank of rings of several lengths and sizes; rank and ranks are those of the share.
template <class F>
void for_each_pass(const F& f) {
    for (const Index batch : {1, 3})
        for (const Index seq_len : {1, 2, 5, 16, 100})
            for (const Index num_seats : {1, 2, 5})
                for (int ranks = 1; ranks <= num_seats; ++ranks)
                    for (int rank = 0; rank < ranks; ++rank) {
                        CAPTURE(batch);
                        CAPTURE(seq_len);
                        CAPTURE(num_seats);
                        CAPTURE(ranks);
                        CAPTURE(rank);
                        ra::LocalRing ring;
                        for (const auto layout :
                             {ra::Layout::contiguous, ra::Layout::zigzag, ra::Layout::striped}) {
                            const ra::Share share(ra::ChunkLayout(seq_len, num_seats, layout), rank, ranks);
                            f(ra::Pass{ring, share, batch, ra::KeepPatternReference{}});
                        }
                    }
}

}  // namespace

TEST_CASE("pass: the last rows are those of the sequence's last token, on the one rank that holds it") {
    for_each_pass([](const ra::Pass& pass) {
        const ra::Share& share = pass.share;
        const Index seq_len = share.layout().seq_len();
        const ra::List<Index> positions = share.positions();
        const bool holds_it = !positions.empty() && positions.back() == seq_len - 1;
        const ra::Matrix<double> last = pass.last_rows(named_tokens(share, pass.batch));
        REQUIRE(last.rows() == (holds_it ? pass.batch : 0));
        CHECK(last.cols() == 2);
        for (Index b = 0; b < last.rows(); ++b) {
            CHECK(last(b, 0) == double(b));
            CHECK(last(b, 1) == double(seq_len - 1));
        }
    });
}

TEST_CASE("pass: exactly one rank has the last rows") {
    for (const Index seq_len : {1, 3, 4, 5, 17})
        for (int ranks = 1; ranks <= 5; ++ranks) {
            int holders = 0;
            for (int rank = 0; rank < ranks; ++rank) {
                ra::LocalRing ring;
                const ra::Share share(ra::ChunkLayout(seq_len, 5), rank, ranks);
                const ra::Pass pass{ring, share, 2, {}};
                holders += pass.last_rows(named_tokens(share, 2)).rows() > 0;
            }
            CHECK(holders == 1);
        }
}

TEST_CASE("pass: every token is visited once, by its batch entry and position") {
    for (const int threads : {1, 3}) {
        const support::NumThreads working(threads);
        for_each_pass([](const ra::Pass& pass) {
            const ra::Matrix<double> tokens = named_tokens(pass.share, pass.batch);
            std::vector<std::atomic<int>> right(static_cast<std::size_t>(tokens.rows()));
            std::atomic<int> calls = 0;
            ra::for_each_token(pass, [&](Index row, Index batch, Index position) {
                ++calls;
                right[std::size_t(row)] +=
                    tokens(row, 0) == double(batch) && tokens(row, 1) == double(position);
            });
            CHECK(calls == tokens.rows());
            for (const auto& number : right) CHECK(number == 1);
        });
    }
}

TEST_CASE("pass: parts have numbers of their own, and the last one alone may leave out tokens") {
    ra::LocalRing ring;
    const ra::Share share(ra::ChunkLayout(7, 2), 0, 1);
    const ra::Pass pass{ring, share, 3, {}, 5, true};
    const auto first = pass.at_part(0, false), last = pass.at_part(1);
    CHECK(first.layer != last.layer);
    CHECK(first.layer != pass.layer);
    CHECK(first.at_part(1).layer != last.at_part(0).layer);
    CHECK_FALSE(first.last_token_only);
    CHECK(last.last_token_only);
    CHECK(last.at_part(0).last_token_only);
    CHECK_FALSE(last.at_part(0, false).last_token_only);
    CHECK_FALSE(first.at_part(0).last_token_only);
    CHECK(&last.share == &share);
    CHECK(last.batch == 3);
}

TEST_CASE("stream pass: the last rows are those of the last of the new tokens") {
    ra::StreamMemory<double> memory;
    ra::LocalRing ring;
    const ra::StreamPass<double> pass{ring, memory, {{10, 4}}, 3, {}, true};
    ra::Matrix<double> rows(12, 1);
    for (Index i = 0; i < 12; ++i) rows(i, 0) = double(i);
    const ra::Matrix<double> last = pass.last_rows(rows);
    REQUIRE(last.rows() == 3);
    for (Index b = 0; b < 3; ++b) CHECK(last(b, 0) == double(4 * b + 3));
    CHECK(pass.at_part(0).last_token_only);
    CHECK_FALSE(pass.at_part(0, false).last_token_only);
}

}  // namespace layers_layer
