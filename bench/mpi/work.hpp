#pragma once

#include <benchmark/benchmark.h>

#include <ring_attention/ring_attention.hpp>

#include "../flops.hpp"
#include "../fma_peak.hpp"
#include "../inputs.hpp"

// Work on a sequence of which each rank of a ring has its share: constructed and run by all ranks together.
// In one process the seats are the same, and so is what they compute.

namespace bench {

namespace ra = ring_attention;

inline constexpr ra::LanguageOptions model_options{.hidden_size = 256,
                                                   .num_heads = 4,
                                                   .num_chunks = 4,
                                                   .num_layers = 2,
                                                   .dropout = 0,
                                                   .layout = ra::Layout::zigzag};
using LanguageModel = ra::LanguageModel<model_options>;

/// The operator as a layer of the model has it.
class Attention {
  public:
    Attention(auto& ring, ra::Index seq_len)
        : in_(heads, ra::share<model_options>(ring, seq_len).num_tokens(), head_dim), result_(forward(ring)) {}

  protected:
    static constexpr ra::Index heads = model_options.num_heads, head_dim = model_options.hidden_size / heads;

    ra::AttentionResult<float> forward(auto& ring) const {
        return ra::attention(in_.q, in_.k, in_.v, options, ring);
    }
    ra::AttentionGradient<float> backward(auto& ring) const {
        return ra::attention_backward(result_.output, in_.q, in_.k, in_.v, result_, options, ring);
    }

  private:
    static constexpr ra::AttentionOptions options{.num_chunks = model_options.num_chunks,
                                                  .layout = model_options.layout};
    AttentionInputs in_;
    ra::AttentionResult<float> result_;
};

struct AttentionForward : Attention {
    using Attention::Attention;

    static double flops(ra::Index seq_len) { return attention_forward_flops(heads, seq_len, head_dim, true); }
    void run(auto& ring) { benchmark::DoNotOptimize(forward(ring)); }
};

struct AttentionBackward : Attention {
    using Attention::Attention;

    static double flops(ra::Index seq_len) {
        return attention_backward_flops(heads, seq_len, head_dim, true);
    }
    void run(auto& ring) { benchmark::DoNotOptimize(backward(ring)); }
};

/// The whole step: forward, loss, backward and optimiser, which each rank runs over all weights.
class TrainingStep {
  public:
    TrainingStep(auto& ring, ra::Index seq_len)
        : model_(ra::build<model_options>()), gradient_(ra::zeros_like(model_)), optimiser_(model_) {
        const ra::Share share = ra::share<model_options>(ring, seq_len);
        tokens_ = ra::Tensor<ra::Token, 2>(1, share.num_tokens());
        for (ra::Index i = 0; i < tokens_.size(); ++i) tokens_.data()[i] = ra::Token(i * i % 251);
        targets_ = ra::next_tokens(tokens_, share, ring);
    }

    static double flops(ra::Index seq_len) {
        constexpr ra::Index width = model_options.hidden_size;
        return model_options.num_layers * BlockFlops{1, seq_len, width}.training() +
               3 * dense_flops(seq_len, width, model_options.vocabulary);
    }

    void run(auto& ring) {
        ra::for_each_parameter(gradient_, [](auto, auto& tensor) { tensor.setZero(); });
        const auto logits = model_.forward(tokens_, cache_, ring);
        const auto loss = ra::cross_entropy(logits, targets_, ring);
        model_.backward(loss.d_logits, cache_, gradient_, ring);
        optimiser_.step(model_, gradient_, 1e-3);
    }

  private:
    LanguageModel model_, gradient_;
    ra::AdamW<LanguageModel> optimiser_;
    LanguageModel::Cache cache_;
    ra::Tensor<ra::Token, 2> tokens_, targets_;
};

/// Needs neither memory nor messages: what there is to win on these cores.
class FusedMultiplyAdds {
  public:
    FusedMultiplyAdds(auto& ring, ra::Index seq_len)
        : tokens_(ra::share<model_options>(ring, seq_len).num_tokens()) {}

    static double flops(ra::Index seq_len) { return double(seq_len); }  // in a unit of its own
    void run(auto&) const {
        for (ra::Index i = 0; i < tokens_; ++i) benchmark::DoNotOptimize(run_fma_chains());
    }

  private:
    ra::Index tokens_;
};

}  // namespace bench
