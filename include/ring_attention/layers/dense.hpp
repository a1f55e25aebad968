#pragma once

#include <cmath>

#include <ring_attention/core/random.hpp>
#include <ring_attention/kernels/elementwise.hpp>
#include <ring_attention/kernels/product.hpp>
#include <ring_attention/layers/layer.hpp>

namespace ring_attention::inline RING_ATTENTION_ABI {

/// y = x kernel + bias: [tokens, In] => [tokens, Out]. Without has_bias there is no bias: the parameter is
/// empty, is not visited, and nothing is added. The kernel may be kept as bfloat16, in half the memory, which
/// is what one token waits for; then there is no backward.
template <class T, Index In, Index Out, bool has_bias = true, Storage weights = Storage::computing>
struct Dense {
    using Scalar = T;
    using Weight = detail::StoredAs<T, weights>;
    static constexpr Index in_width = In, out_width = Out;

    Matrix<Weight> kernel = Matrix<Weight>::Zero(In, Out);
    RowVector<T> bias = RowVector<T>::Zero(has_bias ? Out : 0);

    static void visit(auto&& f, auto&... self) {
        f("kernel", self.kernel...);
        if constexpr (has_bias) f("bias", self.bias...);
    }

    struct Cache {
        Matrix<T> input;  // [tokens, In]
    };

    Matrix<T> forward(Matrix<T> x, Cache* cache) const {
        Matrix<T> y(x.rows(), Out);
        apply(x, {0, Out}, detail::view(y), [](Index, Index, std::span<T>) {});
        if (cache) cache->input = std::move(x);
        return y;
    }

    /// sums (tokens, Out) += the output.
    void add_forward(Matrix<T> x, Cache* cache, detail::MatrixView<T> sums) const {
        Matrix<T> y(x.rows(), Out);
        apply(x, {0, Out}, detail::view(y), [&](Index row, Index col, std::span<const T> numbers) {
            detail::add(numbers.data(), &sums(row, col), Index(numbers.size()));
        });
        if (cache) cache->input = std::move(x);
    }

    /// y (tokens, columns.count) becomes these columns of the output; then(row, column of y, numbers) is
    /// called for pieces of its rows as soon as they are done, while they are in the cache.
    void apply(const Matrix<T>& x, IndexRange columns, detail::MatrixView<T> y, auto&& then) const {
        detail::parallel_multiply_then<T>(
            detail::view(x), detail::view(kernel).middle_cols(columns.first, columns.count), y,
            [&](detail::MatrixView<T> tile, Index first_row, Index first_col) {
                using Piece = detail::MapOf<Eigen::Array<T, 1, Eigen::Dynamic>>;
                for (Index row = 0; row < tile.rows; ++row) {
                    if constexpr (has_bias)
                        Piece(&tile(row, 0), tile.cols) +=
                            bias.segment(columns.first + first_col, tile.cols).array();
                    then(first_row + row, first_col, std::span(&tile(row, 0), std::size_t(tile.cols)));
                }
            });
    }

    Matrix<T> backward(Matrix<T> d_y, const Cache& cache, const SeatGradients<Dense>& gradients) const {
        add_gradients(d_y, cache.input, gradients);
        Matrix<T> d_x(d_y.rows(), In);
        input_gradient(d_y, detail::view(d_x));
        return d_x;
    }

    /// Those of the parameters, where the input was x.
    void add_gradients(const Matrix<T>& d_y, const Matrix<T>& x,
                       const SeatGradients<Dense>& gradients) const {
        if constexpr (detail::has_gradient<weights>())
            gradients.for_each([&](Dense& gradient, IndexRange rows) {
                if constexpr (has_bias)
                    detail::add_sum_of_rows(
                        rows.first, rows.count, gradient.bias,
                        [&](Index row, Index col, Index cols) { return d_y.row(row).segment(col, cols); });
                detail::parallel_multiply<T>(detail::view(x).middle_rows(rows.first, rows.count).transposed(),
                                             detail::view(d_y).middle_rows(rows.first, rows.count),
                                             detail::view(gradient.kernel), detail::Into::add);
            });
    }

    /// d_x (tokens, In) = or += d_y kernel^T.
    void input_gradient(const Matrix<T>& d_y, detail::MatrixView<T> d_x,
                        detail::Into into = detail::Into::overwrite) const {
        if constexpr (detail::has_gradient<weights>())
            detail::parallel_multiply<T>(detail::view(d_y), detail::view(kernel).transposed(), d_x, into);
    }

    /// Glorot uniform: +-sqrt(6 / (In + Out)) (Glorot, Bengio 2010); the bias 0.
    void initialise(const CounterRandom& random, std::uint64_t stream) {
        const double limit = std::sqrt(6.0 / double(In + Out));
        for (Index i = 0; i < kernel.size(); ++i)
            kernel.data()[i] = Weight(T(limit * (2 * random.uniform(stream, std::uint64_t(i)) - 1)));
        bias.setZero();
    }
};

}  // namespace ring_attention::inline RING_ATTENTION_ABI
