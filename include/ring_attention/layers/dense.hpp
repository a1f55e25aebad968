#pragma once

#include <cmath>

#include <ring_attention/core/random.hpp>
#include <ring_attention/kernels/product.hpp>
#include <ring_attention/kernels/rows.hpp>
#include <ring_attention/layers/layer.hpp>

namespace ring_attention {

/// y = x kernel + bias: [tokens, In] => [tokens, Out].
template <class T, Index In, Index Out>
struct Dense {
    using Scalar = T;
    static constexpr Index in_width = In, out_width = Out;

    Matrix<T> kernel = Matrix<T>::Zero(In, Out);
    RowVector<T> bias = RowVector<T>::Zero(Out);

    static void visit(auto&& f, auto&... self) {
        f("kernel", self.kernel...);
        f("bias", self.bias...);
    }

    struct Cache {
        Matrix<T> input;  // [tokens, In]
    };

    Matrix<T> forward(Matrix<T> x, Cache* cache) const {
        Matrix<T> y(x.rows(), Out);
        parallel_multiply<T>(view(std::as_const(x)), view(kernel), view(y));
        parallel_rows(y.rows(), [&](Index row) { y.row(row) += bias; });
        if (cache) cache->input = std::move(x);
        return y;
    }

    Matrix<T> backward(Matrix<T> d_y, const Cache& cache, Dense& gradient) const {
        const MatrixView<const T> d = view(std::as_const(d_y));
        gradient.bias += sum_of_rows(d_y);
        parallel_multiply<T>(view(cache.input).transposed(), d, view(gradient.kernel), Into::add);
        Matrix<T> d_x(d_y.rows(), In);
        parallel_multiply<T>(d, view(kernel).transposed(), view(d_x));
        return d_x;
    }

    /// Glorot uniform: +-sqrt(6 / (In + Out)) (Glorot, Bengio 2010); the bias 0.
    void initialise(const CounterRandom& random, std::uint64_t stream) {
        const double limit = std::sqrt(6.0 / double(In + Out));
        for (Index i = 0; i < kernel.size(); ++i)
            kernel.data()[i] = T(limit * (2 * random.uniform(stream, std::uint64_t(i)) - 1));
        bias.setZero();
    }
};

}  // namespace ring_attention
