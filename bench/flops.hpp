#pragma once

#include <ring_attention/attention/plan.hpp>
#include <ring_attention/core/types.hpp>

// What a result needs, not what an implementation does: nothing that is computed a second time counts, and
// neither does what the mask hides.

namespace bench {

namespace ra = ring_attention;

/// One of the products of attention, q k^T or the like, over all heads.
inline double attention_product_flops(ra::Index heads, ra::Index seq_len, ra::Index head_dim, bool causal) {
    return 2.0 * double(heads) * double(seq_len) * double(seq_len) * double(head_dim) / (causal ? 2 : 1);
}

/// q k^T and p v.
inline double attention_forward_flops(ra::Index heads, ra::Index seq_len, ra::Index head_dim, bool causal) {
    return 2 * attention_product_flops(heads, seq_len, head_dim, causal);
}

/// dv, dp, dq and dk, and q k^T again, which the operator does not keep.
inline double attention_backward_flops(ra::Index heads, ra::Index seq_len, ra::Index head_dim, bool causal) {
    return 5 * attention_product_flops(heads, seq_len, head_dim, causal);
}

/// Of a query and a key in a head, where keys are as wide as values.
inline double forward_flops_of_pair(ra::Index head_dim) {
    return attention_forward_flops(1, 1, head_dim, false);
}
inline double backward_flops_of_pair(ra::Index head_dim) {
    return attention_backward_flops(1, 1, head_dim, false);
}

/// How many queries and keys see each other, in all heads, where the queries are at positions 0 ...
/// num_queries - 1.
inline double pairs_that_see_each_other(const ra::AttentionPlan& plan, ra::Index num_queries) {
    double pairs = 0;
    for (ra::Index batch = 0; batch < plan.heads.batch; ++batch)
        for (ra::Index query = 0; query < num_queries; ++query)
            pairs += double(plan.mask.visible(batch, query).count);
    return pairs * double(plan.heads.heads);
}

inline double dense_flops(ra::Index tokens, ra::Index in, ra::Index out) {
    return 2.0 * double(tokens) * double(in) * double(out);
}

/// Of a batch of sequences through a block whose heads make up its width.
struct BlockFlops {
    ra::Index batch, seq_len, width;

    /// qkv, out_proj, ffn_up, ffn_down
    double dense() const { return dense_flops(batch * seq_len, width, (3 + 1 + 4 + 4) * width); }

    double forward() const { return dense() + attention_forward_flops(batch, seq_len, width, true); }

    /// Forward and backward: two products back for each one forth, of dense layers and of attention, where
    /// q k^T is taken as kept.
    double training() const { return 3 * forward(); }
};

}  // namespace bench
