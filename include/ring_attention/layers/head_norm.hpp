#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>

#include <ring_attention/attention/heads.hpp>
#include <ring_attention/core/parallel.hpp>
#include <ring_attention/kernels/reduce.hpp>
#include <ring_attention/layers/layer.hpp>

namespace ring_attention::inline RING_ATTENTION_ABI {

/// y = gamma x / sqrt(mean(x^2) + epsilon) over each head of queries or of keys, with one gamma for all heads
/// (RMSNorm: Zhang, Sennrich 2019, 1910.07467; as Qwen 3 has it). It works in place, wherever heads lie.
template <class T, Index width>
struct HeadNorm {
    using Scalar = T;

    RowVector<T> gamma = RowVector<T>::Ones(width);

    static void visit(auto&& f, auto&... self) { f("gamma", self.gamma...); }

    /// heads: at each seat [batch, heads, tokens, width].
    void forward(const SeatHeads<T>& heads, Index batch, double epsilon) const {
        for (const HeadsView<T>& seat : heads)
            parallel_for(batch * runs_of(seat), [&](Index task) {
                Row normalised;
                for_each_head(seat, task, [&](Index b, Index head, Index token) {
                    T* const x = seat.row(b, head, token);
                    normalise(x, epsilon, normalised);
                    for (std::size_t i = 0; i < normalised.size(); ++i)
                        x[i] = normalised[i] * gamma.data()[i];
                });
            });
    }

    /// x: what forward was given. d, the gradient of what it gave, becomes that of x. With n = x / deviation
    /// and d_n = d gamma: d_x = (d_n - n mean(d_n n)) / deviation.
    void backward(const SeatHeads<const T>& x, const SeatHeads<T>& d, Index batch, double epsilon,
                  const SeatGradients<HeadNorm>& gradients) const {
        List<RowVector<T>> d_gamma;  // of each seat
        for (std::size_t seat = 0; seat < x.size(); ++seat) {
            Matrix<T> sums = Matrix<T>::Zero(batch * runs_of(x[seat]), width);
            parallel_for(sums.rows(), [&](Index task) {
                Row normalised;
                for_each_head(x[seat], task, [&](Index b, Index head, Index token) {
                    const T inverse = normalise(x[seat].row(b, head, token), epsilon, normalised);
                    backward_of_row(d[seat].row(b, head, token), normalised, inverse, &sums(task, 0));
                });
            });
            d_gamma.push_back(RowVector<T>::Zero(width));
            for (Index task = 0; task < sums.rows(); ++task) d_gamma.back() += sums.row(task);
        }
        std::size_t seat = 0;
        gradients.for_each([&](HeadNorm& gradient, IndexRange) { gradient.gamma += d_gamma[seat++]; });
    }

  private:
    using Row = std::array<T, std::size_t(width)>;
    static constexpr Index run_length = 64;  // tokens of a task

    static Index runs_of(const auto& heads) { return (heads.tokens + run_length - 1) / run_length; }

    /// Calls f(batch entry, head, token) for those of one task.
    static void for_each_head(const auto& heads, Index task, auto&& f) {
        const Index runs = runs_of(heads), first = task % runs * run_length;
        for (Index token = first; token < std::min(heads.tokens, first + run_length); ++token)
            for (Index head = 0; head < heads.heads; ++head) f(task / runs, head, token);
    }

    /// The normalised row, and one divided by its deviation. In double: so it is rounded once.
    static T normalise(const T* x, double epsilon, Row& normalised) {
        std::array<double, std::size_t(width)> row;
        std::copy_n(x, width, row.data());
        const double inverse =
            1 / std::sqrt(detail::dot(row.data(), row.data(), width) / double(width) + epsilon);
        for (std::size_t i = 0; i < row.size(); ++i) normalised[i] = T(row[i] * inverse);
        return T(inverse);
    }

    void backward_of_row(T* d, const Row& normalised, T inverse, T* d_gamma) const {
        for (std::size_t i = 0; i < normalised.size(); ++i) {
            d_gamma[i] += d[i] * normalised[i];
            d[i] *= gamma.data()[i];
        }
        const T mean = detail::dot<T>(d, normalised.data(), width) / T(width);
        for (std::size_t i = 0; i < normalised.size(); ++i) d[i] = inverse * (d[i] - normalised[i] * mean);
    }
};

}  // namespace ring_attention::inline RING_ATTENTION_ABI
