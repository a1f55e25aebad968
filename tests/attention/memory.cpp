// How much memory attention needs on a rank beyond the layer's own tensors, in blocks [tokens of the rank,
// width]: keys take one, values one. Ring Attention (2310.01889, section 3) promises six, of which it counts
// queries and output, which are the layer's own.

#include <barrier>
#include <string>

#include <doctest/doctest.h>

#include <ring_attention/attention/backward.hpp>
#include <ring_attention/attention/options.hpp>
#include <ring_attention/ring/thread/thread_ring.hpp>

#include "support/num_threads.hpp"
#include "support/system_memory.hpp"

namespace {

namespace ra = ring_attention;

constexpr ra::Index tokens_of_rank = 512;
constexpr ra::HeadShape shape{1, 8, 8, 64, 64};
constexpr ra::Index numbers_of_rank = tokens_of_rank * shape.heads * shape.key_width;
constexpr double block = double(numbers_of_rank) * sizeof(float);

/// The layer's own tensors on a rank of one seat.
struct LayerTensors {
    ra::KeyValueMessage<float> key_value, d_key_value;
    ra::RowVector<float> query, output, d_output, d_query, log_sum_exp, log_sum_exp_rest;

    explicit LayerTensors(const ra::Share& share) : key_value(share, shape), d_key_value(share, shape) {
        key_value.set_zero();
        d_key_value.set_zero();
        for (auto* tensor : {&query, &output, &d_output, &d_query})
            *tensor = ra::RowVector<float>::Constant(numbers_of_rank, 0.01f);
        log_sum_exp = log_sum_exp_rest = ra::RowVector<float>::Zero(tokens_of_rank * shape.heads);
    }

    template <class T>
    static ra::SeatHeads<T> heads(T* numbers, ra::Index width) {
        return {ra::HeadsView<T>::head_by_head(numbers, shape.heads, tokens_of_rank, width)};
    }
};

ra::SeatQueries<float> queries_of(const ra::AttentionPlan& plan, const LayerTensors& own) {
    return {{plan.query_tokens(0)}, LayerTensors::heads(own.query.data(), shape.key_width)};
}

void forward(ra::ThreadRing& ring, const ra::AttentionPlan& plan, LayerTensors& own) {
    ra::attend<float>(ring, plan, queries_of(plan, own), std::as_const(own.key_value).views(), own.key_value,
                      {LayerTensors::heads(own.output.data(), shape.value_width),
                       LayerTensors::heads(own.log_sum_exp.data(), 1),
                       LayerTensors::heads(own.log_sum_exp_rest.data(), 1)});
}

void backward(ra::ThreadRing& ring, const ra::AttentionPlan& plan, LayerTensors& own) {
    const auto heads = [](const ra::RowVector<float>& numbers, ra::Index width) {
        return LayerTensors::heads(numbers.data(), width);
    };
    ra::attend_backward<float>(
        ring, plan,
        {queries_of(plan, own), heads(own.d_output, shape.value_width), heads(own.output, shape.value_width),
         heads(own.log_sum_exp, 1), heads(own.log_sum_exp_rest, 1), std::as_const(own.key_value).views(),
         LayerTensors::heads(own.d_query.data(), shape.key_width), own.d_key_value.views()},
        own.key_value);
}

/// Blocks that pass(ring, plan, own tensors) takes of the system, the mean over the ranks.
double blocks_of(int ranks, ra::Layout layout, bool causal, ra::Index window, const auto& pass) {
    const support::NumThreads one(1);
    auto& memory = support::SystemMemory::instance();
    std::size_t before = 0, most = 0;
    std::barrier all(ranks);
    ra::ThreadRing::run(ranks, [&](ra::ThreadRing& ring) {
        const ra::Share share = ra::share(ring, ranks * tokens_of_rank, ranks, layout);
        const ra::AttentionPlan plan =
            ra::plan_of<float>({.causal = causal, .window = window}, share, share, shape);
        LayerTensors own(share);
        all.arrive_and_wait();
        if (ring.rank() == 0) {
            memory.take_most_bytes();
            before = memory.bytes();
        }
        all.arrive_and_wait();
        pass(ring, plan, own);
        all.arrive_and_wait();
        if (ring.rank() == 0) most = memory.take_most_bytes();
    });
    return double(most - before) / ranks / block;
}

}  // namespace

TEST_CASE("attention keeps at most six blocks beyond the layer's own tensors, on any number of ranks") {
    for (const int ranks : {2, 4, 7})
        for (const auto layout : {ra::Layout::contiguous, ra::Layout::zigzag, ra::Layout::striped})
            for (const bool causal : {true, false})
                for (const ra::Index window : {0, 600}) {
                    if (window > 0 && (ranks != 4 || !causal)) continue;
                    const double in_forward = blocks_of(ranks, layout, causal, window, forward),
                                 in_backward = blocks_of(ranks, layout, causal, window, backward);
                    INFO(ranks, " ranks, ", std::string(ra::name_of(layout)), ", causal ", causal,
                         ", window ", window);
                    CHECK(in_forward <= 6);
                    CHECK(in_backward <= 6);
                }
}
