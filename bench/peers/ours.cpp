// The operator for Python: loaded by ctypes, so that it runs in one process with its peers (operators.py).

#include <algorithm>
#include <cstdint>

#include <ring_attention/ring_attention.hpp>

#include "exported.hpp"

namespace ra = ring_attention;

namespace {

using Tensor = ra::Tensor<float, 4>;

Tensor tensor_of(const float* numbers, std::int64_t heads, std::int64_t seq_len, std::int64_t head_dim) {
    Tensor tensor(1, heads, seq_len, head_dim);
    std::copy_n(numbers, tensor.size(), tensor.data());
    return tensor;
}

/// What a call takes and what the last one gave.
struct Ours {
    Tensor q, k, v, d_output;
    ra::AttentionOptions options;
    ra::AttentionResult<float> result;
    ra::AttentionGradient<float> gradient;
};

}  // namespace

/// All numbers are [heads, seq_len, head_dim], and copied.
EXPORTED Ours* ours_create(const float* q, const float* k, const float* v, const float* d_output,
                           std::int64_t heads, std::int64_t seq_len, std::int64_t head_dim, int causal) {
    const auto tensor = [&](const float* numbers) { return tensor_of(numbers, heads, seq_len, head_dim); };
    return new Ours{tensor(q), tensor(k), tensor(v), tensor(d_output), {.causal = causal != 0}, {}, {}};
}

EXPORTED void ours_destroy(Ours* ours) {
    delete ours;
}

EXPORTED void ours_forward(Ours* ours) {
    ours->result = ra::attention(ours->q, ours->k, ours->v, ours->options);
}

EXPORTED void ours_backward(Ours* ours) {
    ours->gradient =
        ra::attention_backward(ours->d_output, ours->q, ours->k, ours->v, ours->result, ours->options);
}

/// The output (0), or the gradient of q (1), k (2) or v (3).
EXPORTED const float* ours_result(const Ours* ours, int which) {
    const Tensor* const results[] = {&ours->result.output, &ours->gradient.query, &ours->gradient.key,
                                     &ours->gradient.value};
    return results[which]->data();
}
