// Attention as one would write it with Eigen: for each head the whole matrix of scores, a softmax of its
// rows, and a product.

#include <cmath>
#include <cstdint>
#include <limits>

#include <Eigen/Core>

#include "exported.hpp"

namespace {

using Matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

void softmax_of_rows(Matrix& scores) {
    for (Eigen::Index i = 0; i < scores.rows(); ++i) {
        auto row = scores.row(i).array();
        row = (row - row.maxCoeff()).exp();
        row /= row.sum();
    }
}

/// A query does not see the keys after it.
void hide_later_keys(Matrix& scores) {
    for (Eigen::Index i = 0; i < scores.rows(); ++i)
        scores.row(i).tail(scores.cols() - i - 1).setConstant(-std::numeric_limits<float>::infinity());
}

}  // namespace

/// q, k, v and output are [heads, seq_len, head_dim].
EXPORTED void plain_eigen_forward(const float* q, const float* k, const float* v, float* output,
                                  std::int64_t heads, std::int64_t seq_len, std::int64_t head_dim,
                                  int causal) {
    const float scale = 1 / std::sqrt(float(head_dim));
    Matrix scores(seq_len, seq_len);
    for (std::int64_t head = 0; head < heads; ++head) {
        const std::int64_t at = head * seq_len * head_dim;
        const auto matrix = [&](const float* numbers) {
            return Eigen::Map<const Matrix>(numbers + at, seq_len, head_dim);
        };
        scores.noalias() = (scale * matrix(q)) * matrix(k).transpose();
        if (causal != 0) hide_later_keys(scores);
        softmax_of_rows(scores);
        Eigen::Map<Matrix>(output + at, seq_len, head_dim).noalias() = scores * matrix(v);
    }
}
