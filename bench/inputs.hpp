#pragma once

#include <utility>

#include <ring_attention/core/tensor.hpp>
#include <ring_attention/core/types.hpp>

namespace bench {

namespace ra = ring_attention;

/// random<ra::Matrix<float>>(rows, cols), random<ra::Tensor<float, 3>>(batch, seq_len, width): numbers from
/// -1 to 1.
template <class Container>
Container random(auto... sizes) {
    Container container(sizes...);
    Eigen::Map<Eigen::ArrayX<typename Container::Scalar>>(container.data(), container.size()).setRandom();
    return container;
}

/// q, k, v, each [1, heads, seq_len, head_dim].
struct AttentionInputs {
    ra::Tensor<float, 4> q, k, v;

    AttentionInputs(ra::Index heads, ra::Index seq_len, ra::Index head_dim)
        : q(random<ra::Tensor<float, 4>>(1, heads, seq_len, head_dim)),
          k(random<ra::Tensor<float, 4>>(1, heads, seq_len, head_dim)),
          v(random<ra::Tensor<float, 4>>(1, heads, seq_len, head_dim)) {}
};

}  // namespace bench
