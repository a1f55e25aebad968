#pragma once

#include <array>

#include <unsupported/Eigen/CXX11/Tensor>

#include <ring_attention/core/abi.hpp>

namespace ring_attention::inline RING_ATTENTION_ABI {

/// The container at the public door; inside, the library works on matrices.
template <class T, int Rank>
using Tensor = Eigen::Tensor<T, Rank, Eigen::RowMajor>;

/// The extents of a tensor, as Eigen counts.
auto tensor_shape(auto... extents) {
    return std::array<Eigen::Index, sizeof...(extents)>{Eigen::Index(extents)...};
}

}  // namespace ring_attention::inline RING_ATTENTION_ABI
