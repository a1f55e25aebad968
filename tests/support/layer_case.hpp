#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

#include <ring_attention/layers/layer.hpp>

#include "compare.hpp"
#include "finite_differences.hpp"
#include "inputs.hpp"

// A layer of either kind on the seats of one process, in double, against finite differences.

namespace support {

namespace ra = ring_attention;

struct SeatShape {
    ra::Index batch = 1, seq_len = 1, num_seats = 1;
    ra::Sequences sequences = {};
};

inline ra::Matrix<double> normal_matrix(ra::Index rows, ra::Index cols, std::uint64_t seed) {
    const auto numbers = inputs::normal<double>(std::size_t(rows * cols), seed);
    return Eigen::Map<const ra::Matrix<double>::PlainObject>(numbers.data(), rows, cols);
}

/// Normal numbers in every parameter.
template <class L>
void randomise(L& layer) {
    std::uint64_t seed = 100;
    ra::for_each_parameter(layer, [&](std::string_view, auto& tensor) {
        const auto numbers = inputs::normal<double>(std::size_t(tensor.size()), ++seed);
        std::copy(numbers.begin(), numbers.end(), tensor.data());
    });
}

template <ra::Layer L>
class LayerCase {
  public:
    LayerCase(L layer, const SeatShape& shape, ra::KeepPatternReference masks)
        : layer_(std::move(layer)),
          share_(ra::ChunkLayout(shape.seq_len, shape.num_seats), 0, 1),
          sequences_(shape.sequences),
          pass_{ring_, share_, shape.batch, masks, 1, false, &sequences_} {
        randomise(layer_);
        const ra::Index rows = shape.batch * shape.seq_len;
        x_ = normal_matrix(rows, L::in_width, 0);
        d_y_ = normal_matrix(rows, L::out_width, 1);
    }

    /// backward's gradients of sum(d_y y), by every number of the input and of each parameter.
    void check_finite_differences() {
        typename L::Cache cache;
        check_forward_is_the_same_with(cache);
        L gradient = ra::zeros_like(layer_);
        const auto d_x = backward(cache, gradient);
        const auto loss = [&] { return inner_product(forward(nullptr), d_y_); };
        CHECK(gradient_error(x_, d_x, loss) < tolerance);
        ra::for_each_parameter_in_step(
            [&](std::string_view name, auto& parameter, const auto& d_parameter) {
                INFO("parameter ", std::string(name));
                CHECK(gradient_error(parameter, d_parameter, loss) < tolerance);
            },
            layer_, gradient);
        check_backward_adds(cache, gradient);
    }

  private:
    static constexpr double tolerance = 1e-8;

    ra::Matrix<double> forward(typename L::Cache* cache) const {
        return ra::forward_layer(layer_, x_, cache, pass_);
    }

    ra::Matrix<double> backward(const typename L::Cache& cache, L& gradient) const {
        const ra::SeatGradients<L> gradients(gradient, ra::rows_of_seats(share_, pass_.batch));
        return ra::backward_layer(layer_, d_y_, cache, gradients, pass_);
    }

    void check_forward_is_the_same_with(typename L::Cache& cache) const {
        const auto without = forward(nullptr), with = forward(&cache);
        CHECK(with.rows() == x_.rows());
        CHECK(with.cols() == L::out_width);
        CHECK(compare::same_bits(with, without));
    }

    /// A second backward through the same cache doubles the gradient.
    void check_backward_adds(const typename L::Cache& cache, const L& once) const {
        L twice = once;
        backward(cache, twice);
        ra::for_each_parameter_in_step(
            [](std::string_view name, const auto& doubled, const auto& single) {
                INFO("parameter ", std::string(name));
                CHECK((doubled - 2 * single).cwiseAbs().maxCoeff() <= 1e-13 * compare::largest(single));
            },
            std::as_const(twice), once);
    }

    L layer_;
    ra::LocalRing ring_;
    ra::Share share_;
    ra::Sequences sequences_;
    ra::Pass pass_;
    ra::Matrix<double> x_, d_y_;  // rows of all seats
};

/// Checks backward of the layer, with masks that must outlive the call.
template <ra::Layer L>
void check_layer(const SeatShape& shape, ra::KeepPatternReference masks = {}) {
    INFO("batch ", shape.batch, ", seq_len ", shape.seq_len, ", seats ", shape.num_seats);
    LayerCase<L>(L{}, shape, masks).check_finite_differences();
}

/// y = layer(x) for rows of numbers, against what the oracle says of them.
template <class L, class R>
void check_forward(const L& layer, const std::vector<R>& x, const std::vector<R>& expected,
                   double tolerance) {
    using T = typename L::Scalar;
    ra::Matrix<T> rows(ra::Index(x.size()) / L::in_width, L::in_width);
    std::transform(x.begin(), x.end(), rows.data(), [](R value) { return T(value); });
    CHECK(compare::largest_difference(layer.forward(rows, nullptr), expected) < tolerance);
}

}  // namespace support
