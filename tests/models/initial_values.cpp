// What build() gives: the parameters, their names and order, and the values that they begin with.

#include <cmath>
#include <set>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include <ring_attention/models/build.hpp>

#include "support/compare.hpp"
#include "support/inputs.hpp"

namespace models_initial_values {

namespace {

namespace ra = ring_attention;

constexpr ra::Options options{.embed_dim = 288};  // the rest by default

template <class Model>
std::vector<std::string> names_of(const Model& model) {
    std::vector<std::string> names;
    ra::for_each_parameter(model, [&](std::string_view name, const auto&) { names.emplace_back(name); });
    return names;
}

std::vector<std::string> expected_names(bool projection, int num_layers) {
    std::vector<std::string> names;
    if (projection) names = {"input_projection.kernel", "input_projection.bias"};
    for (int i = 1; i <= num_layers; ++i)
        for (const char* part : {"attn_norm.gamma", "attn_norm.beta", "qkv.kernel", "qkv.bias",
                                 "out_proj.kernel", "out_proj.bias", "ffn_norm.gamma", "ffn_norm.beta",
                                 "ffn_up.kernel", "ffn_up.bias", "ffn_down.kernel", "ffn_down.bias"})
            names.push_back("ring_" + std::to_string(i) + "_" + part);
    names.insert(names.end(), {"final_norm.gamma", "final_norm.beta"});
    return names;
}

/// Uniform in +-sqrt(6 / (in + out)): bounds, mean and variance, each within 5 standard deviations.
template <class Kernel>
void check_glorot(const Kernel& kernel) {
    const double limit = std::sqrt(6.0 / double(kernel.rows() + kernel.cols())), size = double(kernel.size());
    double mean = 0, square = 0;
    for (ra::Index i = 0; i < kernel.size(); ++i) {
        mean += double(kernel.data()[i]) / size;
        square += std::pow(double(kernel.data()[i]), 2) / size;
    }
    CHECK(compare::largest(kernel) <= limit * (1 + 1e-7));
    CHECK(compare::largest(kernel) > limit * 0.999);
    CHECK(std::abs(mean) < 5 * limit / std::sqrt(3 * size));
    CHECK(std::abs(square / (limit * limit / 3) - 1) < 5 * std::sqrt(0.8 / size));
}

}  // namespace

TEST_CASE("build: the options by default") {
    CHECK(options.hidden_size == 256);
    CHECK(options.num_heads == 4);
    CHECK(options.num_chunks == 4);
    CHECK(options.num_layers == 4);
    CHECK(options.dropout == 0.1f);
    CHECK(options.window_size == 60);
    CHECK(options.output == ra::Output::last_timestep);
}

TEST_CASE("build: names, order and number of the parameters") {
    const auto model = ra::build<options>();
    CHECK(names_of(model) == expected_names(true, 4));
    const int hidden = 256, block = 12 * hidden * hidden + 13 * hidden;
    CHECK(ra::parameter_count(model) == 288 * hidden + hidden + 4 * block + 2 * hidden);
    CHECK(names_of(ra::build<ra::Options{.embed_dim = 256, .num_layers = 11}>()) ==
          expected_names(false, 11));
}

TEST_CASE("build: kernels are [in, out]") {
    const auto model = ra::build<options>();
    ra::for_each_parameter(model, [](std::string_view name, const auto& tensor) {
        INFO(std::string(name));
        if (name == "input_projection.kernel") CHECK((tensor.rows() == 288 && tensor.cols() == 256));
        if (name == "ring_1_qkv.kernel") CHECK((tensor.rows() == 256 && tensor.cols() == 768));
        if (name == "ring_1_ffn_up.kernel") CHECK((tensor.rows() == 256 && tensor.cols() == 1024));
        if (name == "ring_1_ffn_down.kernel") CHECK((tensor.rows() == 1024 && tensor.cols() == 256));
        if (!name.ends_with(".kernel")) CHECK(tensor.rows() == 1);
    });
}

TEST_CASE("build: kernels are Glorot uniform, biases and betas 0, gammas 1") {
    const auto model = ra::build<options>(5);
    std::set<float> first_numbers;
    ra::for_each_parameter(model, [&](std::string_view name, const auto& tensor) {
        INFO(std::string(name));
        if (name.ends_with(".kernel")) {
            check_glorot(tensor);
            CHECK(first_numbers.insert(tensor(0, 0)).second);  // no two kernels alike
        } else {
            const float expected = name.ends_with(".gamma") ? 1 : 0;
            CHECK((tensor.array() == expected).all());
        }
    });
}

TEST_CASE("build: the seed alone decides, and float is double rounded") {
    const auto first = ra::build<options>(), again = ra::build<options>(0), other = ra::build<options>(1);
    const auto wide = ra::build<options, double>();
    ra::for_each_parameter_in_step(
        [](std::string_view name, const auto& a, const auto& b, const auto& c) {
            INFO(std::string(name));
            CHECK(a == b);
            CHECK((a == c) == !name.ends_with(".kernel"));
        },
        first, again, other);
    std::vector<float> rounded, narrow;
    ra::for_each_parameter(wide, [&](std::string_view, const auto& tensor) {
        for (const float value : inputs::widen<float>(tensor)) rounded.push_back(value);
    });
    ra::for_each_parameter(first, [&](std::string_view, const auto& tensor) {
        narrow.insert(narrow.end(), tensor.data(), tensor.data() + tensor.size());
    });
    CHECK(rounded == narrow);
}

}  // namespace models_initial_values
