#pragma once

#include <Eigen/Core>

namespace ring_attention {

using Index = Eigen::Index;

/// A matrix as the library keeps it: one row a token (or a row of a kernel), contiguous.
template <class T>
using Matrix = Eigen::Matrix<T, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

/// A bias, gamma or beta; also one row of a Matrix.
template <class T>
using RowVector = Eigen::Matrix<T, 1, Eigen::Dynamic>;

}  // namespace ring_attention
