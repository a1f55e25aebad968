#pragma once

#include <algorithm>
#include <cstddef>
#include <string>
#include <vector>

#include <benchmark/benchmark.h>

#include <ring_attention/ring_attention.hpp>

#include "flops.hpp"
#include "inputs.hpp"

namespace bench {

namespace ra = ring_attention;

enum class Pass { forward, backward, step };  // a step is both

/// A sequence on a ring whose ranks have one seat and one thread each, 8 heads of 64.
struct RingCase {
    Pass pass;
    int ranks;
    ra::Index tokens_of_rank;
    bool causal;
    ra::Layout layout;

    static constexpr ra::Index heads = 8, head_dim = 64;

    ra::Index seq_len() const { return ranks * tokens_of_rank; }

    double flops() const {
        double flops = 0;
        if (pass != Pass::backward) flops += attention_forward_flops(heads, seq_len(), head_dim, causal);
        if (pass != Pass::forward) flops += attention_backward_flops(heads, seq_len(), head_dim, causal);
        return flops;
    }
};

/// What a pass through the operator took in emulated time, until the last rank was done, and what a rank
/// sent, at the most.
struct RingRun {
    double seconds = 0, key_value_bytes = 0, gradient_bytes = 0;

    void add_rank(const RingRun& rank) {
        seconds = std::max(seconds, rank.seconds);
        key_value_bytes = std::max(key_value_bytes, rank.key_value_bytes);
        gradient_bytes = std::max(gradient_bytes, rank.gradient_bytes);
    }
};

/// Attention on such a ring, to be run on several links. Needs set_num_threads(1).
class RingAttentionWork {
  public:
    explicit RingAttentionWork(const RingCase& of) : case_(of) {
        for (int rank = 0; rank < of.ranks; ++rank) ranks_.emplace_back(of);
        ra::ThreadRing::run(of.ranks, [&](ra::ThreadRing& ring) { forward(ring); });  // what backward needs
    }

    RingRun run(const ra::EmulatedLink& link) {
        std::vector<RingRun> runs(ranks_.size());
        ra::ThreadRing::run(
            case_.ranks, [&](ra::ThreadRing& ring) { runs[std::size_t(ring.rank())] = run_rank(ring); },
            link);
        RingRun whole;
        for (const RingRun& rank : runs) whole.add_rank(rank);
        return whole;
    }

  private:
    struct Rank {
        AttentionInputs in;
        ra::Tensor<float, 4> d_output;
        ra::AttentionResult<float> result;

        explicit Rank(const RingCase& of)
            : in(of.heads, of.tokens_of_rank, of.head_dim),
              d_output(random<ra::Tensor<float, 4>>(1, of.heads, of.tokens_of_rank, of.head_dim)) {}
    };

    ra::AttentionOptions options() const {
        return {.num_chunks = case_.ranks, .causal = case_.causal, .layout = case_.layout};
    }

    void forward(ra::ThreadRing& ring) {
        Rank& own = ranks_[std::size_t(ring.rank())];
        own.result = ra::attention(own.in.q, own.in.k, own.in.v, options(), ring);
    }

    RingRun run_rank(ra::ThreadRing& ring) {
        if (case_.pass != Pass::backward) forward(ring);
        if (case_.pass != Pass::forward) {
            const Rank& own = ranks_[std::size_t(ring.rank())];
            const auto gradient = ra::attention_backward(own.d_output, own.in.q, own.in.k, own.in.v,
                                                         own.result, options(), ring);
            benchmark::DoNotOptimize(gradient);
        }
        const auto sent = [&](ra::Channel channel) { return double(ring.log().sent_on(channel).bytes); };
        return {ring.seconds(), sent(ra::Channel::key_value), sent(ra::Channel::gradient)};
    }

    RingCase case_;
    std::vector<Rank> ranks_;
};

}  // namespace bench
