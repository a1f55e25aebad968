#pragma once

#include <unsupported/Eigen/CXX11/Tensor>

namespace ring_attention {

/// The container at the public door; inside, the library works on matrices.
template <class T, int Rank>
using Tensor = Eigen::Tensor<T, Rank, Eigen::RowMajor>;

}  // namespace ring_attention
