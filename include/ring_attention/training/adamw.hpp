#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <string_view>
#include <type_traits>

#include <ring_attention/core/parallel.hpp>
#include <ring_attention/core/parameters.hpp>
#include <ring_attention/kernels/simd.hpp>

namespace ring_attention::inline RING_ATTENTION_ABI {

struct AdamWOptions {
    double beta1 = 0.9;
    double beta2 = 0.95;
    double epsilon = 1e-8;
    double weight_decay = 0.1;  ///< on matrices (kernels, tables); none on biases, gammas and betas
};

namespace detail {

/// One step of one parameter. Every fused multiply-add is spelt out, so that the bits do not depend on what a
/// compiler contracts.
template <Real T>
class AdamWStep {
  public:
    AdamWStep(const AdamWOptions& options, double t, double learning_rate, double decay)
        : beta1_(T(options.beta1)),
          beta2_(T(options.beta2)),
          epsilon_(T(options.epsilon)),
          rate_(T(learning_rate / (1 - std::pow(options.beta1, t)))),
          root_scale_(T(1 / std::sqrt(1 - std::pow(options.beta2, t)))),
          keep_(T(1 - learning_rate * decay)),
          smallest_first_(T(std::min(double(smallest_normal) * 0x1p24, options.epsilon * 0x1p-64))) {
        if (epsilon_ + T(2) * std::sqrt(smallest_normal) * root_scale_ > epsilon_) return;
        smallest_second_ = smallest_normal;
        smallest_squared_ = std::sqrt(smallest_normal / (T(1) - beta2_));
    }

    /// n weights, their slopes and their moments.
    void operator()(T* weight, const T* slope, T* first, T* second, Index n) const {
        constexpr Index width = Simd<T>::width;
        Index i = 0;
        for (; i + width <= n; i += width) {
            Numbers x{Simd<T>::load(weight + i), Simd<T>::load(first + i), Simd<T>::load(second + i)};
            step(x, Simd<T>::load(slope + i));
            x.weight.store(weight + i), x.first.store(first + i), x.second.store(second + i);
        }
        if (i == n) return;
        const Index rest = n - i;
        Numbers x{load_partial(weight + i, rest), load_partial(first + i, rest),
                  load_partial(second + i, rest)};
        step(x, load_partial(slope + i, rest));
        store_partial(x.weight, weight + i, rest);
        store_partial(x.first, first + i, rest);
        store_partial(x.second, second + i, rest);
    }

  private:
    static constexpr T smallest_normal = std::numeric_limits<T>::min();

    struct Numbers {
        Simd<T> weight, first, second;
    };

    void step(Numbers& x, Simd<T> slope) const {
        slope = at_least(smallest_first_, slope);
        const Simd<T> squared = at_least(smallest_squared_, slope);
        x.first = at_least(smallest_first_, fma(Simd<T>(beta1_), x.first, Simd<T>(T(1) - beta1_) * slope));
        x.second = at_least(smallest_second_,
                            fma(Simd<T>(beta2_), x.second, Simd<T>(T(1) - beta2_) * squared * squared));
        const Simd<T> root = fma(sqrt(x.second), Simd<T>(root_scale_), Simd<T>(epsilon_));
        const Simd<T> kept = fma(Simd<T>(keep_), x.weight, Simd<T>(T(-0.0)));  // a product, rounded
        x.weight = at_least(smallest_normal, kept - Simd<T>(rate_) * x.first / root);
    }

    /// x, or 0 where it is smaller in size; NaN stays.
    static Simd<T> at_least(T smallest, Simd<T> x) {
        return select<T>(abs(x) < Simd<T>(smallest), Simd<T>(T(0)), x);
    }

    T beta1_, beta2_, epsilon_, rate_, root_scale_, keep_;

    // Sizes below which numbers become 0, because they change no weight any more: where a gradient stays 0,
    // they would decay into subnormal numbers, with which processors are slow, and stay there. None where
    // epsilon is so small that they would count after all.
    T smallest_first_;        // times a learning rate it is not subnormal, and its step far below rounding
    T smallest_second_ = 0;   // its root is lost beside epsilon
    T smallest_squared_ = 0;  // a slope whose square would add less than that
};

}  // namespace detail

/// Adam with decoupled weight decay (Loshchilov, Hutter 2019, 1711.05101, algorithm 2). It holds two moments
/// of the model's own type, and can be saved and loaded as a model can. Moments, and weights under decay,
/// that are too small to matter become 0.
template <Visitable Model>
struct AdamW {
    AdamWOptions options;
    Model first_moment;
    Model second_moment;
    RowVector<std::int64_t> steps_taken = RowVector<std::int64_t>::Zero(1);

    static void visit(auto&& f, auto&... self) {
        f("first_moment", self.first_moment...);
        f("second_moment", self.second_moment...);
        f("steps_taken", self.steps_taken...);
    }

    explicit AdamW(const Model& model, const AdamWOptions& with = {})
        : options(with), first_moment(zeros_like(model)), second_moment(zeros_like(model)) {}

    /// One step down the gradient.
    void step(Model& model, const Model& gradient, double learning_rate) {
        const auto t = double(++steps_taken[0]);
        for_each_parameter_in_step(
            [&](std::string_view, auto& weight, const auto& g, auto& m, auto& v) {
                using Parameter = std::remove_cvref_t<decltype(weight)>;
                const double decay = Parameter::IsVectorAtCompileTime ? 0 : options.weight_decay;
                const detail::AdamWStep<typename Parameter::Scalar> step(options, t, learning_rate, decay);
                constexpr Index run = 1 << 14;
                parallel_for((weight.size() + run - 1) / run, [&](Index i) {
                    const Index at = i * run;
                    step(weight.data() + at, g.data() + at, m.data() + at, v.data() + at,
                         std::min(run, weight.size() - at));
                });
            },
            model, gradient, first_moment, second_moment);
    }
};

}  // namespace ring_attention::inline RING_ATTENTION_ABI
