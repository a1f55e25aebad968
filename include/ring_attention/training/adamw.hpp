#pragma once

#include <cmath>
#include <cstdint>
#include <string_view>

#include <ring_attention/core/parallel.hpp>
#include <ring_attention/core/parameters.hpp>

namespace ring_attention::inline RING_ATTENTION_ABI {

struct AdamWOptions {
    double beta1 = 0.9;
    double beta2 = 0.95;
    double epsilon = 1e-8;
    double weight_decay = 0.1;  ///< on matrices (kernels, tables); none on biases, gammas and betas
};

/// Adam with decoupled weight decay (Loshchilov, Hutter 2019, 1711.05101, algorithm 2). It holds two moments
/// of the model's own type, and can be saved and loaded as a model can.
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
        const double correction1 = 1 - std::pow(options.beta1, t),
                     correction2 = 1 - std::pow(options.beta2, t);
        for_each_parameter_in_step(
            [&](std::string_view, auto& weight, const auto& g, auto& m, auto& v) {
                using Parameter = std::remove_cvref_t<decltype(weight)>;
                using T = typename Parameter::Scalar;
                const T beta1 = T(options.beta1), beta2 = T(options.beta2), epsilon = T(options.epsilon);
                const T rate = T(learning_rate / correction1), root_scale = T(1 / std::sqrt(correction2));
                const T keep =
                    Parameter::IsVectorAtCompileTime ? T(1) : T(1 - learning_rate * options.weight_decay);
                parallel_for_in_runs(weight.size(), 1 << 14, [&](Index i) {
                    T& first = m.data()[i];
                    T& second = v.data()[i];
                    const T slope = g.data()[i];
                    first = beta1 * first + (T(1) - beta1) * slope;
                    second = beta2 * second + (T(1) - beta2) * slope * slope;
                    weight.data()[i] =
                        keep * weight.data()[i] - rate * first / (std::sqrt(second) * root_scale + epsilon);
                });
            },
            model, gradient, first_moment, second_moment);
    }
};

}  // namespace ring_attention::inline RING_ATTENTION_ABI
