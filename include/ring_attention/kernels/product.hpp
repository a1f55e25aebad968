#pragma once

#include <ring_attention/kernels/blocked_product.hpp>
#include <ring_attention/kernels/matrix_view.hpp>
#include <ring_attention/kernels/packing.hpp>
#include <ring_attention/kernels/simd.hpp>

namespace ring_attention::inline RING_ATTENTION_ABI::detail {

enum class Into { overwrite, add };

/// c (m,n) = or += a (m,k) b (k,n), any strides. The order of summation depends on k alone: the bits of
/// c(i,j) come from row i of a and column j of b (and c(i,j), to which the finished sum is added), whatever
/// the rest. c overlaps neither. b may be kept as bfloat16, and is widened while it is read: the bits are
/// those of the product with a b that was widened before.
template <Real T, class Right>
void multiply(MatrixView<const T> a, MatrixView<Right> b, MatrixView<T> c, Into into = Into::overwrite) {
    multiply_unpacked_on<T>(a, MatrixView<const Right>(b), c, into == Into::add, OnThisThread{});
}

/// The same on all threads, in tiles of c whose shape depends on c's alone.
template <Real T, class Right>
void parallel_multiply(MatrixView<const T> a, MatrixView<Right> b, MatrixView<T> c,
                       Into into = Into::overwrite) {
    multiply_unpacked_on<T>(a, MatrixView<const Right>(b), c, into == Into::add, OnAllThreads{});
}

/// c = a b on all threads, and finish(tile of c, its first row, its first column) as soon as a tile is done,
/// on the thread that made it. The rows of c are contiguous, k is at least 1.
template <Real T, class Right, class Finish>
void parallel_multiply_then(MatrixView<const T> a, MatrixView<Right> b, MatrixView<T> c,
                            const Finish& finish) {
    multiply_blocks<T>(a, MatrixView<const Right>(b), c, false, OnAllThreads{}, TileFinish<T>(finish));
}

}  // namespace ring_attention::inline RING_ATTENTION_ABI::detail
