#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <span>
#include <string>
#include <vector>

#include <ring_attention/core/exact_sum.hpp>
#include <ring_attention/core/tensor.hpp>
#include <ring_attention/kernels/elementwise.hpp>
#include <ring_attention/kernels/rows.hpp>
#include <ring_attention/layers/embedding.hpp>
#include <ring_attention/ring/local_ring.hpp>
#include <ring_attention/ring/ring_reference.hpp>

RING_ATTENTION_PRECISE_BEGIN
namespace ring_attention::inline RING_ATTENTION_ABI {

/// A target that is not counted: padding.
inline constexpr Token ignored_target = -1;

template <class T>
struct CrossEntropy {
    double loss = 0;           ///< mean over the targets that count, in nats; 0 where none does
    Index count = 0;           ///< of those targets, over all ranks
    Tensor<T, 3> d_logits;     ///< [batch, seq_len, vocabulary]
    Tensor<double, 2> losses;  ///< [batch, seq_len] of each token, 0 where it does not count
};

namespace detail {

template <class T>
void check_targets(const Tensor<T, 3>& logits, const Tensor<Token, 2>& targets) {
    require_shape("targets", targets.dimensions(),
                  std::array<Index, 2>{logits.dimension(0), logits.dimension(1)});
    require_countable("logits", logits.dimensions());
    for (Index i = 0; i < targets.size(); ++i) {
        const Token target = targets.data()[i];
        if (target != ignored_target && (target < 0 || target >= logits.dimension(2)))
            throw Error("target " + std::to_string(target) + ", expected 0 to " +
                        std::to_string(logits.dimension(2) - 1) + " or ignored_target");
    }
}

/// -ln softmax(logits)[target]; d = softmax(logits) - onehot(target).
template <class T>
double token_cross_entropy(const T* logits, Index vocabulary, Token target, T* d) {
    const T largest = maximum(logits, vocabulary);
    const T sum = exp_shifted(logits, largest, d, vocabulary);
    for (Index j = 0; j < vocabulary; ++j) d[j] /= sum;
    d[target] -= T(1);
    return std::log(double(sum)) - double(logits[target] - largest);
}

}  // namespace detail

/// The mean over all ranks' true tokens of -ln softmax(logits)[target], and its gradient. logits: [batch,
/// seq_len, vocabulary]; targets: [batch, seq_len], 0 ... vocabulary - 1 or ignored_target. The sum is exact,
/// so it is the same whichever rank has which tokens. Throws ShapeError or Error where the targets do not
/// fit.
template <class T>
CrossEntropy<T> cross_entropy(const Tensor<T, 3>& logits, const Tensor<Token, 2>& targets,
                              RingReference ring = LocalRing()) {
    detail::check_targets(logits, targets);
    const Index batch = logits.dimension(0), tokens = logits.dimension(1), vocabulary = logits.dimension(2);
    CrossEntropy<T> result{0, 0, Tensor<T, 3>(batch, tokens, vocabulary), Tensor<double, 2>(batch, tokens)};
    std::fill_n(result.d_logits.data(), result.d_logits.size(), T(0));
    std::fill_n(result.losses.data(), result.losses.size(), 0.0);
    detail::parallel_rows(batch * tokens, [&](Index i) {
        const Token target = targets.data()[i];
        if (target == ignored_target) return;
        result.losses.data()[i] = detail::token_cross_entropy(
            logits.data() + i * vocabulary, vocabulary, target, result.d_logits.data() + i * vocabulary);
    });

    struct Total {
        ExactSum sum;
        Index count = 0;
    };
    Total total;
    sum_numbers_in_rank_order(ring, std::span(&total, 1), [&](std::span<Total> so_far, Index) {
        for (Index i = 0; i < targets.size(); ++i)
            if (targets.data()[i] != ignored_target) {
                so_far[0].sum.add(result.losses.data()[i]);
                ++so_far[0].count;
            }
    });
    if (total.count == 0) return result;
    result.count = total.count;
    result.loss = total.sum.value() / double(total.count);
    const T scale = T(1 / double(total.count));
    for (Index i = 0; i < result.d_logits.size(); ++i) result.d_logits.data()[i] *= scale;
    return result;
}

}  // namespace ring_attention::inline RING_ATTENTION_ABI
RING_ATTENTION_PRECISE_END
