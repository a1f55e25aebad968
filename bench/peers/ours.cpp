// The operator for Python: loaded by ctypes, so that it runs in one process with its peers (compiled.py).

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <sys/mman.h>

#include <ring_attention/ring_attention.hpp>

#include "exported.hpp"

namespace ra = ring_attention;

namespace {

using Tensor = ra::Tensor<float, 4>;

/// As compiled.py has it, member by member.
struct OursOptions {
    std::int64_t heads, key_value_heads, q_len, kv_len, head_dim;
    std::int64_t window;  // 0: none
    std::int32_t causal;
    std::int32_t bfloat16;   // Storage::bfloat16
    std::int32_t keys_kept;  // keys and values are a cache that is stored before the call, as a stream has it
};

/// As numpy asks for its arrays, which the peers read: a long cache comes sooner from pages of 2 MiB.
void ask_for_large_pages(Tensor& tensor) {
    constexpr std::size_t page = std::size_t(2) << 20;
    const std::size_t size = std::size_t(tensor.size()) * sizeof(float);
    const std::size_t before = (page - reinterpret_cast<std::uintptr_t>(tensor.data()) % page) % page;
    if (size >= before + page)
        madvise(reinterpret_cast<std::byte*>(tensor.data()) + before, (size - before) / page * page,
                MADV_HUGEPAGE);
}

Tensor tensor_of(const float* numbers, std::int64_t heads, std::int64_t seq_len, std::int64_t head_dim) {
    Tensor tensor(1, heads, seq_len, head_dim);
    ask_for_large_pages(tensor);
    std::copy_n(numbers, tensor.size(), tensor.data());
    return tensor;
}

ra::AttentionOptions attention_options(const OursOptions& o) {
    ra::AttentionOptions options;
    options.causal = o.causal != 0;
    options.window = o.window;
    options.query_offset = o.kv_len - o.q_len;  // queries are the last tokens
    options.storage = o.bfloat16 != 0 ? ra::Storage::bfloat16 : ra::Storage::computing;
    return options;
}

/// What a call takes and what the last one gave.
class Ours {
  public:
    Ours(const float* q, const float* k, const float* v, const float* d_output, const OursOptions& o)
        : q_(tensor_of(q, o.heads, o.q_len, o.head_dim)),
          k_(tensor_of(k, o.key_value_heads, o.kv_len, o.head_dim)),
          v_(tensor_of(v, o.key_value_heads, o.kv_len, o.head_dim)),
          d_output_(tensor_of(d_output, o.heads, o.q_len, o.head_dim)),
          options_(attention_options(o)) {
        if (o.keys_kept != 0) kept_.emplace(q_, k_, v_, options_, ring_);
    }

    void forward() { result_ = kept_ ? kept_->attend(q_, v_, ring_) : ra::attention(q_, k_, v_, options_); }

    void backward() { gradient_ = ra::attention_backward(d_output_, q_, k_, v_, result_, options_); }

    /// The output (0), or the gradient of q (1), k (2) or v (3).
    const float* result(int which) const {
        const Tensor* const results[] = {&result_.output, &gradient_.query, &gradient_.key, &gradient_.value};
        return results[which]->data();
    }

  private:
    /// ra::attention() rounds keys and values in each call; here that is done before.
    struct Kept {
        Kept(const Tensor& q, const Tensor& k, const Tensor& v, const ra::AttentionOptions& options,
             ra::RingReference ring)
            : plan(ra::detail::plan_attention<float>(q, k, v, options, {}, ring)),
              inputs(q, k, v, {}, plan) {}

        ra::AttentionResult<float> attend(const Tensor& q, const Tensor& v, ra::RingReference ring) const {
            ra::AttentionResult<float> result;
            result.output.resize(1, q.dimension(1), q.dimension(2), v.dimension(3));
            result.log_sum_exp.resize(1, q.dimension(1), q.dimension(2));
            const auto output = ra::detail::seated(result.output, plan.queries),
                       log_sum_exp = ra::detail::seated(result.log_sum_exp, plan.queries);
            ra::attend<float>(ring, plan, inputs.queries(), inputs.key_value(), inputs.message(),
                              {output.seats(), log_sum_exp.seats()});
            return result;
        }

        ra::AttentionPlan plan;
        ra::detail::OperatorInputs<float> inputs;
    };

    Tensor q_, k_, v_, d_output_;
    ra::AttentionOptions options_;
    ra::LocalRing ring_;
    std::optional<Kept> kept_;
    ra::AttentionResult<float> result_;
    ra::AttentionGradient<float> gradient_;
};

}  // namespace

/// q and d_output are [heads, q_len, head_dim], k and v [key_value_heads, kv_len, head_dim]; all are copied.
EXPORTED Ours* ours_create(const float* q, const float* k, const float* v, const float* d_output,
                           const OursOptions* options) {
    return new Ours(q, k, v, d_output, *options);
}

EXPORTED void ours_destroy(Ours* ours) {
    delete ours;
}

EXPORTED void ours_forward(Ours* ours) {
    ours->forward();
}

EXPORTED void ours_backward(Ours* ours) {
    ours->backward();
}

EXPORTED const float* ours_result(const Ours* ours, int which) {
    return ours->result(which);
}
